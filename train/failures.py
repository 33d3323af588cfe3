"""Turns what torch and the system raise while training into errors of one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engines.errors import DatasetError, TrainingError
from engines.machine_faults import is_want_of_memory


@contextmanager
def told_in_one_line(batch_size: int, workers: int) -> Iterator[None]:
    """Raises a `TrainingError` or `DatasetError` in place of torch's and the system's own.

    Args:
        batch_size: batch size of the run, named where memory is full.
        workers: number of its processes that read pairs, of which fewer are advised where one was killed.
    """
    try:
        yield
    except DatasetError as error:
        # From a reading process it carries a traceback, whose last line is the message.
        line = str(error).rstrip().splitlines()[-1]
        raise DatasetError(line.removeprefix(f"{DatasetError.__module__}.DatasetError: ")) from error
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"GPU memory is full at batch size {batch_size}: lower --batch-size or --width, or use "
            "--set precision=bf16, and go on with --resume"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"cannot go on: {error.strerror or error} ({error.filename or 'no file named'}); "
            "the checkpoints are kept: make room, then go on with --resume"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if is_want_of_memory(error):
            raise TrainingError(
                f"there is too little memory at batch size {batch_size}: lower --batch-size or --width, and go on with "
                "--resume"
            ) from error
        if "DataLoader timed out" in str(error):
            raise TrainingError(
                "a process that reads pairs is stuck: use --set workers=0, and go on with --resume"
            ) from error
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a process that reads pairs was killed (memory full?): use --set workers={workers // 2}, and go on with "
            "--resume"
        ) from error
