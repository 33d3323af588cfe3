"""Addresses: a path of this machine, or a URL such as `s3://bucket/folder`."""

import os
import re
from pathlib import Path
from typing import Final

from engines.errors import UsageError

Place = Path | str
"""Where a tree or file is: a path of this machine, or else a URL."""

_URL: Final = re.compile(r"(?P<protocol>[a-z][a-z0-9+.]+)://(?P<rest>.*)", re.DOTALL)


def is_url(address: object) -> bool:
    """Whether an address is a URL and no path."""
    return isinstance(address, str) and _URL.fullmatch(address) is not None


def place(address: str) -> Place:
    """What an address means.

    Raises:
        UsageError: there is a password in it, which would be written into logs and the manifest.
    """
    found = _URL.fullmatch(address)
    if found is None:
        return Path(address)
    if found["protocol"] == "file":
        return Path("/" + found["rest"].lstrip("/"))
    if "@" in found["rest"].partition("/")[0] and found["protocol"] not in ("abfs", "abfss"):
        raise UsageError(
            f"credentials do not belong into an address: take them out of {found['protocol']}://..., and set them as "
            "the storage's own environment variables or files tell"
        )
    return address.rstrip("/")


def below(folder: Place, name: str) -> Place:
    """The place of a name, with forward slashes, in a folder."""
    return f"{folder}/{name}" if isinstance(folder, str) else folder / name


def parent(address: str) -> tuple[str, str]:
    """The folder that an absolute path or URL is in, and its name there."""
    folder, name = address.rsplit("/", 1) if is_url(address) else os.path.split(address)
    return folder, name
