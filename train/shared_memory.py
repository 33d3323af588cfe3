"""Whether the processes that read pairs can hand them over here, in shared memory, which not every container allows."""

import multiprocessing
import shutil
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/dev/shm")
"""Where Linux keeps shared memory; other systems have no such folder."""


ENOUGH_FILES: Final = 256
"""Open files with which processes that read pairs never run out of them: each array handed over is one."""


def open_files_fault() -> str | None:
    """Why processes cannot have as many files open here as they need; None if they can."""
    try:
        import resource
    except ImportError:  # Windows, where files are not what is handed over
        return None
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"only {most} files may be open (ulimit -n)" if 0 <= most < ENOUGH_FILES else None


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
