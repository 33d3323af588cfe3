"""Where photos and drawings lie. Everything that reads or writes them goes through `open_storage`."""

from apdraw_cli.conversion.storage.base import Listing, Storage, Version
from apdraw_cli.conversion.storage.url import Place, below, is_url, place

__all__ = ["Listing", "Place", "Storage", "Version", "below", "is_url", "open_storage", "place"]


def open_storage(address: str, *, shared: bool = False) -> Storage:
    """Opens the tree of files at an address: the absolute path of a folder, or a URL.

    Args:
        address: address of the tree.
        shared: other processes write into it at the same time.
    """
    if is_url(address):  # imported here, for --help is shown without
        from apdraw_cli.conversion.storage.bucket import BucketStorage

        return BucketStorage(address)
    from apdraw_cli.conversion.storage.local import LocalStorage

    return LocalStorage(address, shared)
