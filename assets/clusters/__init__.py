"""From products to clusters of the same real-world product."""
