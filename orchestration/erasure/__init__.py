"""Removing one listing from every store, for ever: the order of it, and how each store is emptied."""
