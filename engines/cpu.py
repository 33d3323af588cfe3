"""What the processor has: instructions for int8 and bfloat16, by its flags, and cores that may be used."""

import warnings
from functools import cache
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")

_INT8: Final = {"avx512_vnni", "avx_vnni", "amx_int8"}
_BF16: Final = {"avx512_bf16", "amx_bf16"}


def has_int8() -> bool:
    """Whether products of bytes are added up in 32 bits by instructions of this processor's own (VNNI or AMX).

    Without these, OpenVINO and ONNX Runtime add up two in 16 bits first, which may overflow and spoil a drawing.
    Told by the flags that Linux lists; elsewhere the answer is no.
    """
    return bool(_INT8 & _flags())


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 by instructions of its own; told as `has_int8` is."""
    return bool(_BF16 & _flags())


def usable_cores() -> int:
    """How many cores this process may use, by its affinity and the limits of its container."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without shared memory joblib starts no processes, and says so
        from joblib import cpu_count
    return max(1, int(cpu_count()))


@cache
def _flags() -> frozenset[str]:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return frozenset()
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split())
