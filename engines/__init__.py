"""Draws aligned portraits with an exported generator. Imports neither `apdraw_cli` nor `train`."""
