"""From a cluster to one golden record and a readable summary."""
