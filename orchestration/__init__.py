"""The composition root, the jobs, and the command line."""
