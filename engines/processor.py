"""What this processor computes fast."""

from functools import cache
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")

_INT8: Final = {"avx512_vnni", "avx_vnni", "amx_int8"}


@cache
def has_int8() -> bool:
    """Whether products of bytes are added up in 32 bits by instructions of this processor's own (VNNI or AMX).

    Without these, OpenVINO and ONNX Runtime add up two in 16 bits first, which may overflow and spoil a drawing.
    Told by the flags that Linux lists; elsewhere the answer is no.
    """
    try:
        lines = _CPUINFO.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(_INT8 & {*line.split()} for line in lines if line.startswith("flags"))
