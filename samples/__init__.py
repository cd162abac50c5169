"""Five demo shops that sell the same real products, each in its own words, format and kind of mess.

Belongs here: the table of products, the shops' habits, and the script that writes their feeds.
Not here: anything the pipeline imports.
"""
