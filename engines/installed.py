"""What is installed here, as pip and `apdraw doctor` tell it; imports none of it."""

import importlib.metadata
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Something that apdraw works with, as `apdraw doctor` tells of it.

    Attributes:
        name: of the package, device, file or folder.
        version: of what is installed; None if nothing is.
        state: what it is good for here, or what is amiss.
        remedy: the command that helps; None if there is nothing to do.
        optional: whether photos are drawn without it.
    """

    name: str
    version: str | None
    state: str
    remedy: str | None = None
    optional: bool = False


def version_of(distribution: str) -> str | None:
    """The version of a distribution, named as pip names it; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
