"""OpenVINO as a library: what the `openvino` engine and the small networks that find faces and people share."""

from typing import Any

from engines.signal_stack import signal_stack_kept


def open_core() -> tuple[Any, list[str]]:
    """Loads OpenVINO with its plugin for CPUs.

    Returns:
        Its `Core`, and what this CPU computes in: `FP32`, `BF16`, `INT8`, ...

    Raises:
        ImportError, OSError, RuntimeError: OpenVINO or its plugin cannot be loaded.
    """
    import openvino as ov

    core = ov.Core()
    with signal_stack_kept():  # the first question loads the plugin
        return core, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def reason_of(error: Exception) -> str:
    """What went wrong: OpenVINO writes where in its source it happened first, and that last."""
    return str(error).strip().rpartition("\n")[2] or type(error).__name__
