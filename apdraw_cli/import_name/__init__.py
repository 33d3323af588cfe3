"""`import apdraw`: the names of `apdraw_cli`, under the name of the program. The wheel has this folder as `apdraw`."""

from typing import TYPE_CHECKING, Any

import apdraw_cli

if TYPE_CHECKING:
    from apdraw_cli import *  # noqa: F403

__all__ = apdraw_cli.__all__
__version__ = apdraw_cli.__version__


def __getattr__(name: str) -> Any:
    return getattr(apdraw_cli, name)


def __dir__() -> list[str]:
    return dir(apdraw_cli)
