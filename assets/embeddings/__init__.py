"""From a product's text to a vector, and the indexes that search it."""
