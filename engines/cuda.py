"""Which CUDA GPUs the NVIDIA driver offers, asked without importing a GPU library."""

import ctypes
import sys


def gpu_names() -> tuple[str, ...]:
    """Asks the driver for its GPUs, in the order of their numbers.

    `CUDA_VISIBLE_DEVICES` counts, as it does for every library that draws on them.

    Returns:
        One name a GPU, for example `NVIDIA L4`; empty without a driver or without a GPU.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int()
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return ()
    except (OSError, AttributeError):
        return ()
    return tuple(_name(driver, number) for number in range(count.value))


def _name(driver: ctypes.CDLL, number: int) -> str:
    handle = ctypes.c_int()
    text = ctypes.create_string_buffer(256)
    if driver.cuDeviceGet(ctypes.byref(handle), number) != 0 or driver.cuDeviceGetName(text, len(text), handle) != 0:
        return f"GPU {number}"
    return text.value.decode(errors="replace")
