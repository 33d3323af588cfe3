"""The engines that there are: a new one is a module that ends in a `BACKEND`, and a line here.

Imports none of these modules by itself, so that `--help` can name the engines.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engines.base import Backend

_MODULES: Final = {
    "tensorrt": "engines.tensorrt.backend",
    "openvino": "engines.openvino_engine",
    "onnxruntime": "engines.onnxruntime_engine",
    "torch": "engines.torch_engine",
}
"""The module of each engine, in order of speed among those that draw on the same kind of device."""

ENGINES: Final = tuple(_MODULES)
"""The names of the engines, the fastest first."""


def backend(name: str) -> "Backend":
    """The backend of that name, one of `ENGINES`; imports its module, but not the library that draws."""
    found: Backend = import_module(_MODULES[name]).BACKEND
    return found


def backends() -> "tuple[Backend, ...]":
    """All of them, in the order of `ENGINES`."""
    return tuple(map(backend, ENGINES))
