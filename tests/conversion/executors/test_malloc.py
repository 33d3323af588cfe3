import ctypes
import platform
import subprocess
import sys

import pytest

from apdraw_cli.conversion.executors.malloc import keep_freed_memory

FAULTS = """
import resource
from apdraw_cli.conversion.executors.malloc import keep_freed_memory

def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        photo, drawing = bytearray(6_000_000), bytearray(3_000_000)
        del photo, drawing
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

given_back = faults()
keep_freed_memory()
faults()
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep memory")
def test_freed_memory_is_used_again() -> None:
    found = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    given_back, kept = map(int, found.stdout.split())
    assert kept < given_back / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: opened.append(name) or object())  # it has no mallopt, like musl
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()
    assert opened == [None]
    monkeypatch.setattr(sys, "platform", "win32")  # where there is not even that library
    keep_freed_memory()
    assert opened == [None]
