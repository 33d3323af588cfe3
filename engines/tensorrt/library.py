"""TensorRT as a library: finds out which flavor is installed, imports it, and passes its log on to ours."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import threading
from collections import deque
from typing import Any, Final

from engines.errors import EngineError, first_line
from engines.installed import pip_install

MODULES: Final = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""The Python module of each flavor, in the order in which they are preferred where both are installed and fit."""

RTX_CAPABILITIES: Final = frozenset({"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"})
"""Compute capabilities that TensorRT for RTX builds for: not H100, H200 (9.0), B200 (10.0) or B300 (10.3)."""

_DISTRIBUTIONS: Final = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}


def is_installed(flavor: str) -> bool:
    """Whether a flavor's Python module is there; imports nothing."""
    return importlib.util.find_spec(MODULES[flavor]) is not None


def flavor_for(compute_capability: str) -> str:
    """The flavor of TensorRT for a GPU: of those that build for it one that is installed, else the one to install.

    TensorRT builds for every GPU. TensorRT for RTX does so for some, and is the smaller and quicker one to install.
    """
    fit = [flavor for flavor in MODULES if flavor == "tensorrt" or compute_capability in RTX_CAPABILITIES]
    return next(filter(is_installed, fit), fit[-1])


def installed_flavor(preferred: str) -> str:
    """The preferred flavor, or the other one if only that is installed; imports nothing."""
    return next(filter(is_installed, (preferred, *MODULES)), preferred)


def install_command(flavor: str) -> str:
    """What installs a flavor, with the package that CUDA is called through."""
    return pip_install(flavor)


def installed_version(flavor: str) -> str:
    """The version of an installed flavor, as pip knows it; imports nothing."""
    for distribution in _DISTRIBUTIONS[flavor]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return "of unknown version"


def import_library(flavor: str) -> Any:
    """Imports a flavor of TensorRT; to be called where a GPU is known to be, for without one its calls can crash.

    Returns:
        Its module.

    Raises:
        EngineError: it is not installed, or cannot be imported.
    """
    if not is_installed(flavor):
        raise EngineError(f"{MODULES[flavor]} is not installed; install it with: {install_command(flavor)}")
    try:
        return importlib.import_module(MODULES[flavor])
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(
            f"{MODULES[flavor]} cannot be imported: {first_line(error)}; install it again, or see: apdraw doctor"
        ) from error


_LOGS: Final[dict[Any, Any]] = {}
"""The logger of each flavor. TensorRT uses the first one of a process for good, and holds no reference to it."""

_KEPT: Final = 20  # errors of a thread that nobody has asked for


def log_of(library: Any) -> Any:
    """The logger of a flavor: hands its warnings to ours, and keeps its errors for our messages.

    Errors are kept by the thread that TensorRT told them in, so that calls of several threads do not mix them up:
    `forget` drops those of this thread after a call that went well, `take` gives them after one that failed, or else
    those of threads that never asked, TensorRT's own among them.
    """
    if library.ILogger not in _LOGS:
        _LOGS[library.ILogger] = _new_log(library)
    return _LOGS[library.ILogger]


def _new_log(library: Any) -> Any:
    kinds = library.ILogger.Severity

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self._mine = threading.local()  # not by thread numbers, which are used again
            self._others: deque[str] = deque(maxlen=_KEPT)

        def log(self, severity: Any, msg: str) -> None:
            if severity not in (kinds.WARNING, kinds.ERROR, kinds.INTERNAL_ERROR):
                return  # some ten thousand in a build
            text = first_line(ValueError(msg))
            if severity == kinds.WARNING:
                logging.getLogger(f"apdraw.{__name__}").warning("tensorrt: %s", text)
                return
            getattr(self._mine, "errors", self._others).append(text)

        def forget(self) -> None:
            self._mine.errors = deque(maxlen=_KEPT)

        def take(self) -> list[str]:
            told = [*getattr(self._mine, "errors", ())]
            self.forget()
            if not told:
                told = [*self._others]
                self._others.clear()
            return list(dict.fromkeys(told))

    return Log()
