"""Files that are there whole or not at all."""

import os
from pathlib import Path

from engines.base import EngineError


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Writes a file under a temporary name beside it, then renames it.

    Raises:
        EngineError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(
            f"cannot write {path}: {error.strerror or error}; check its folder and the space there"
        ) from error
