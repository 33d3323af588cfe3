"""TensorRT as a library: finds out which flavor is installed, imports it, and passes its log on to ours."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
from typing import Any, Final

from engines.base import one_line
from engines.errors import EngineError

INSTALL: Final = "python -m pip install 'apdraw[tensorrt-rtx]'"

MODULES: Final = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""The Python module of each flavor; the first that is installed draws."""

_DISTRIBUTIONS: Final = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}


def installed_flavor(preferred: str | None = None) -> str | None:
    """The flavor of TensorRT that draws here: the preferred one if it is installed; imports nothing."""
    here = [flavor for flavor, module in MODULES.items() if importlib.util.find_spec(module)]
    return preferred if preferred in here else next(iter(here), None)


def installed_version(flavor: str) -> str:
    """The version of an installed flavor, as pip knows it; imports nothing."""
    for distribution in _DISTRIBUTIONS[flavor]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return "of unknown version"


def import_library(preferred: str | None = None) -> tuple[str, Any]:
    """Imports TensorRT; to be called where a GPU is known to be, for without one its calls can crash.

    Args:
        preferred: the flavor to import if both are installed.

    Returns:
        The flavor, and its module.

    Raises:
        EngineError: neither flavor can be imported.
    """
    flavor = installed_flavor(preferred)
    if flavor is None:
        raise EngineError(f"neither tensorrt nor tensorrt_rtx is installed; install one with: {INSTALL}")
    try:
        return flavor, importlib.import_module(MODULES[flavor])
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(
            f"{MODULES[flavor]} cannot be imported: {one_line(error)}; install it again, or see: apdraw doctor"
        ) from error


_logs: Final[list[Any]] = []
"""Every logger made. TensorRT uses the first one of a process for good, and holds no reference to it."""


def new_log(library: Any) -> Any:
    """A logger for TensorRT: hands its warnings to ours, and keeps its errors for our messages."""
    kinds = library.ILogger.Severity

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            text = one_line(ValueError(msg))
            if severity in (kinds.ERROR, kinds.INTERNAL_ERROR):
                self._errors.append(text)
            elif severity == kinds.WARNING and "one already registered" not in text:  # an engine's own logger
                logging.getLogger(__name__).warning("tensorrt: %s", text)

        def take(self) -> list[str]:
            said, self._errors = list(dict.fromkeys(self._errors)), []
            return said

    _logs.append(Log())
    return _logs[-1]
