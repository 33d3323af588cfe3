"""The apdraw command line: what the user types, and the way of a photo through a conversion."""

__version__ = "0.1.0"
