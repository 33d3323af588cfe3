"""Metrics of drawings against an artist's, and the evaluation of a generator with them."""
