"""Looks whether this process may take the memory that it needs: with too little, libraries crash without a word."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from engines.errors import UnfitError

TO_DRAW: Final = 1_000_000_000
TO_TRAIN: Final = 2_000_000_000
"""Bytes of address space below which loading the libraries alone ends in a crash."""

ENOUGH: Final = 2_500_000_000
"""Bytes of address space that are advised."""

LEAST_MEMORY: Final = 600_000_000
"""Bytes of memory below which the system has been seen to kill a conversion with one worker."""

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")
"""Where Linux tells the control groups of this process, and keeps what they allow."""


def check_memory(warn: Callable[[str], None], address_space: int = TO_DRAW) -> None:
    """Makes sure that libraries can be loaded, and warns where the system may kill this process later.

    Args:
        warn: is told what to know.
        address_space: bytes that the command needs.

    Raises:
        UnfitError: there is too little address space.
    """
    limit = address_space_limit()
    if limit is not None and limit < address_space:
        raise UnfitError(
            f"only {limit / 1e9:.1f} GB of memory may be taken (ulimit -v): allow {ENOUGH / 1e9:.1f} GB or more"
        )
    memory = memory_limit()
    if memory < LEAST_MEMORY:
        warn(
            f"there are {memory / 1e9:.1f} GB of memory here, and about {LEAST_MEMORY / 1e9:.1f} GB are needed: the "
            "system may kill apdraw; give the machine or container more"
        )


def address_space_limit() -> int | None:
    """Bytes that this process may map (`ulimit -v`); None for any number."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def memory_limit() -> int:
    """Bytes of memory of this machine, or of the container if that allows less."""
    import psutil

    return min([int(psutil.virtual_memory().total), *_limits_of_groups()])


def _limits_of_groups() -> list[int]:
    """What the control groups of this process allow, of both versions."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, file = (CGROUPS / "memory", "memory.limit_in_bytes") if controllers else (CGROUPS, "memory.max")
        group = mount / name.strip("/")
        # In a container the group may lie where the tree is mounted, whatever its name outside.
        for folder in (mount, group, *group.parents):
            if folder.is_relative_to(mount):
                limits += _number(folder / file)
    return limits


def _number(path: Path) -> list[int]:
    try:
        return [int(path.read_text())]
    except (OSError, ValueError):  # ValueError: "max"
        return []
