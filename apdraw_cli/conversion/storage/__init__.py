"""Where photos and drawings lie. Everything that reads or writes them goes through `open_storage`."""

from apdraw_cli.conversion.storage.base import Listing, Storage, Version
from apdraw_cli.conversion.storage.local import LocalStorage

__all__ = ["Listing", "LocalStorage", "Storage", "Version", "open_storage"]


def open_storage(address: str) -> Storage:
    """Opens the tree of files at an address: so far, the absolute path of a folder."""
    return LocalStorage(address)
