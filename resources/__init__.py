"""Adapters to the services outside: stores, models, tracking. A resource knows no stage."""
