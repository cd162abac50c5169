"""From listings as published to clean, comparable products."""
