"""Switches off what third-party libraries send home, before any of them is imported.

Two of the libraries that draw report each import to their makers unless told not to, and keep an identifier of the
machine in the user's home folder for it. The package `engines` switches both off when it is imported, which comes
before either library in every process: the commands, their workers, training and export all go through this package.
"""

import os
import sys
from typing import Any, Final

OPENVINO_TELEMETRY: Final = "openvino_telemetry"


def stay_offline() -> None:
    """Switches the reports of OpenVINO and ONNX Runtime off, for this process and those that it starts.

    ONNX Runtime honours an environment variable (elsewhere than on Windows; see `import_onnxruntime`), read once when
    it is imported. OpenVINO has no switch but a file in the home folder of each user. It does do without its telemetry
    package where that cannot be imported, so that import is made to fail: a module that is None in `sys.modules` is
    one that is not there.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules.setdefault(OPENVINO_TELEMETRY, None)  # type: ignore[arg-type]


def import_onnxruntime() -> Any:
    """Imports ONNX Runtime with its trace events off; on Windows they would go to the system's own telemetry.

    Raises:
        ImportError, OSError: it is not installed, or not usable here.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
