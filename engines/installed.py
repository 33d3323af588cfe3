"""What is installed here, as pip and `apdraw doctor` tell it; imports none of it."""

import importlib.metadata
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Something that apdraw works with, as `apdraw doctor` tells of it.

    Attributes:
        name: name of the package, device, file or folder.
        version: version of what is installed; None if nothing is.
        state: what it is good for here, or what is amiss.
        remedy: the command that helps; None if there is nothing to do.
        optional: whether photos are drawn without it.
    """

    name: str
    version: str | None
    state: str
    remedy: str | None = None
    optional: bool = False


def pip_install(extra: str) -> str:
    """The command that installs what an extra of apdraw brings, by the names of its packages: apdraw is on no index."""
    try:
        declared = importlib.metadata.requires("apdraw") or []
    except importlib.metadata.PackageNotFoundError:  # run from a clone
        declared = []
    in_clone = f'".[{extra}]"'
    parts = (requirement.partition("; ") for requirement in declared)
    packages = [f'"{package}"' for package, _, marker in parts if marker == f"extra == '{extra}'"]
    return f"python -m pip install {' '.join(packages or [in_clone])}"


def version_of(distribution: str) -> str | None:
    """The version of a distribution, named as pip names it; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
