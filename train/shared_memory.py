"""Shared memory: whether the processes that read pairs can hand them over here, which not every container lets them."""

import multiprocessing
import shutil
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/dev/shm")
"""Where Linux keeps shared memory; other systems have no such folder."""


def shared_memory_fault(needed: int) -> str | None:
    """Why processes cannot share so much memory here; None if they can.

    Args:
        needed: bytes.
    """
    try:
        multiprocessing.Lock()
    except (OSError, ImportError):
        return f"{FOLDER} is missing or cannot be written"
    try:
        free = shutil.disk_usage(FOLDER).free
    except OSError:
        return None
    return f"{FOLDER} has {free / 1e6:.0f} MB free, and {needed / 1e6:.0f} MB are needed" if free < needed else None
