"""Measurements of quality and cost. They print figures; they never assert."""
