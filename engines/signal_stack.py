"""Restores a thread's signal stack (sigaltstack) after a library has replaced it by memory that it frees."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import ClassVar


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_: ClassVar = [("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Restores this thread's signal stack after the block, on Linux; elsewhere it does nothing.

    OpenVINO's plugin for CPUs puts a stack of its own in place when it is loaded; unloaded, it frees that and puts the
    one it found back. Of two plugins, the second puts back what the first has freed. Python handles signals there, so
    that the next Ctrl-C or the next process to end would kill the program.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    sigaltstack = ctypes.CDLL(None).sigaltstack
    before = _Stack()
    known = sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            sigaltstack(ctypes.byref(before), None)
