"""From the catalogue to tables that analysts query."""
