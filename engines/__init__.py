"""Draws aligned portraits with an exported generator. Imports neither `apdraw_cli` nor `train`."""

from engines.offline import stay_offline

stay_offline()
