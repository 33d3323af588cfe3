"""Checkpoints of a run: written whole or not at all, the last few kept, the newest sound one read."""

import contextlib
import logging
import pickle
import re
from pathlib import Path
from typing import Any, Final

import torch

from engines.atomic_files import replacing, sweep
from engines.errors import CheckpointError, first_line
from engines.regular_files import inside, open_regular

FOLDER: Final = "checkpoints"
_NAME: Final = re.compile(r"step-(\d+)\.pt")
_log = logging.getLogger(f"apdraw.{__name__}")


def save_checkpoint(run: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Writes a checkpoint; it appears under its name only when it is on the disk as a whole.

    Args:
        run: the run folder.
        step: step after which the state was taken.
        state: tensors and plain containers.
        keep: how many checkpoints stay, this one included; older ones are removed once this one is safe.

    Raises:
        CheckpointError: it cannot be written; those before it stay.
    """
    folder = run / FOLDER
    path = folder / f"step-{step:08d}.pt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inside(run, f"{FOLDER}/{path.name}")
        sweep(folder)
        with replacing(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        reason = getattr(error, "strerror", None) or first_line(error)
        raise CheckpointError(
            f"cannot write {path}: {reason}; earlier checkpoints are kept: make room, then go on with --resume"
        ) from error
    for old in checkpoints(run)[:-keep]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def load_checkpoint(run: Path) -> dict[str, Any]:
    """The newest checkpoint that can be read; a damaged one is warned of and passed over.

    Raises:
        CheckpointError: there is none.
    """
    found = checkpoints(run)
    if not found:
        raise CheckpointError(f"there is no checkpoint in {run}; leave out --resume to begin a run")
    for path in reversed(found):
        try:
            with open_regular(path) as file:
                state = dict(torch.load(file, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, ValueError, TypeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            _log.warning("%s is damaged (%s); going back to the one before it", path, first_line(error))
        else:
            return state
    raise CheckpointError(f"every checkpoint in {run} is damaged; begin the run again in another folder")


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; leftovers of interrupted writes are none."""
    folder = run / FOLDER
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
