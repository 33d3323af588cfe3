"""Data sets of portraits and drawings, as training reads them."""
