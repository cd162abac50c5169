"""Other matchers on the same offers, beside Offerline, in one table of one run.

Belongs here: one adapter per peer, its environment, its supervision, the comparison. Not here: Offerline's own
figures (see `benchmarks.matching`); nothing of the product imports this package.
"""
