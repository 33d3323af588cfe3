import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from apdraw_cli.memory import keep_freed_memory

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


def test_it_does_no_harm_elsewhere() -> None:
    code = "import sys; sys.platform = 'darwin'; from apdraw_cli.memory import keep_freed_memory as k; k()"
    subprocess.run([sys.executable, "-c", code], check=True)
