"""Brings a model of a bucket to this machine, once for each version of it."""

import hashlib
from pathlib import Path
from typing import Final

import platformdirs

from apdraw_cli.conversion.storage.bucket import BucketStorage
from apdraw_cli.conversion.storage.url import is_url, parent, place
from engines.atomic_files import write_atomically
from engines.errors import ModelError

LARGEST: Final = 2**32
"""Bytes."""


def fetched_model(address: str) -> Path:
    """A copy of the model at a URL, in the folder of this user for such things.

    Raises:
        ModelError: it cannot be read.
    """
    found = place(address)
    if isinstance(found, Path) or not is_url(found):
        return Path(found)
    folder, name = parent(found)
    storage = BucketStorage(folder)
    try:
        version = storage.version(name)
        key = hashlib.sha256(f"{found} {version.size} {version.mtime_ns}".encode()).hexdigest()[:32]
        copy = Path(platformdirs.user_cache_dir("apdraw", appauthor=False)) / "models" / key / name
        if not copy.is_file() or copy.stat().st_size != version.size:
            data = storage.read(name, LARGEST)
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(copy, data)
    except OSError as error:
        raise ModelError(f"cannot read {found}: {error.strerror or error}; check the address") from error
    return copy
