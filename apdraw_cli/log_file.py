"""The log file of a command: what loggers below `apdraw` are told, with times, appended to a file by `logging`."""

import contextlib
import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engines.errors import ApdrawError, FileWriteError

LOGGER: Final = logging.getLogger("apdraw.command")
LOGGER.addHandler(logging.NullHandler())  # without a log file, what is told here is told elsewhere

FORM: Final = "%(asctime)s %(levelname)s %(message)s"


@contextlib.contextmanager
def log_file(path: Path | None, begins: str) -> Iterator[logging.Logger]:
    """Logs to a file while a command runs, and what ends it. A file that is moved away meanwhile is begun anew.

    Args:
        path: the file, which is appended to; None for none.
        begins: its first line.

    Yields:
        A logger for what there is to tell besides.

    Raises:
        FileWriteError: it cannot be written.
    """
    if path is None:
        yield LOGGER
        return
    try:
        handler = logging.handlers.WatchedFileHandler(path, encoding="utf-8", errors="replace")
    except OSError as error:
        raise FileWriteError(f"cannot write {path}: {error.strerror or error}; name another --log-file") from error
    handler.setFormatter(logging.Formatter(FORM))
    top = logging.getLogger("apdraw")
    level = top.level
    top.addHandler(handler)
    top.setLevel(logging.INFO)
    try:
        LOGGER.info("%s", begins)
        yield LOGGER
    except ApdrawError as error:
        LOGGER.error("%s", error)
        raise
    except Exception:
        LOGGER.exception("an error in apdraw, please report it")
        raise
    finally:
        top.setLevel(level)
        top.removeHandler(handler)
        handler.close()
