"""`apdraw export`: a model becomes one self-contained ONNX file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.errors import UnfitError, UsageError

INSTALL = "python -m pip install 'apdraw[export]'"

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class ExportResult:
    """What was exported.

    Attributes:
        onnx: the file written.
        size: of that file, in bytes.
        metadata: what the file says about itself.
    """

    onnx: Path
    size: int
    metadata: dict[str, str]


def export(
    model: Path,
    onnx: Path,
    *,
    precision: Precision = "fp32",
    half_weights: bool = False,
    calibration: Path | None = None,
) -> ExportResult:
    """Exports a model, after checking that ONNX Runtime draws with it what torch draws.

    Args:
        model: a `.safetensors` file of this program.
        onnx: the `.onnx` file to write; replaced where it exists.
        precision: what the graph computes in. `fp16` and `int8` are refused where they change the drawing.
        half_weights: stores the weights in half precision, for a file of half the size; the drawing is still
            computed in single precision, where `precision` says so.
        calibration: a data set on whose portraits the ranges of `int8` are measured.

    Raises:
        UsageError: `model` or `onnx` is of another kind, or `calibration` is missing or not wanted.
        UnfitError: a package is missing, the model cannot be used, or its graph draws something else.
    """
    if model.suffix.lower() != ".safetensors":
        raise UsageError(f"cannot export {model}: a model to export is a .safetensors file")
    if onnx.suffix.lower() != ".onnx":
        raise UsageError(f"cannot export to {onnx}: its name must end in .onnx")
    if not onnx.parent.is_dir():
        raise UsageError(f"cannot export to {onnx}: there is no folder {onnx.parent}; make it first")
    if precision == "int8" and calibration is None:
        raise UsageError("int8 is calibrated on portraits: name a data set with --calibration (made by apdraw prepare)")
    if precision != "int8" and calibration is not None:
        raise UsageError(f"--calibration is for --precision int8, not for {precision}: leave it out")
    try:
        import onnx as _onnx  # noqa: F401
        import onnxscript  # noqa: F401

        from train.export.to_onnx import export_onnx
        from train.model_file import load_generator
    except ImportError as error:
        raise UnfitError(f"exporting needs {error.name}; install it with: {INSTALL}") from error
    generator, metadata = load_generator(model)
    written = export_onnx(
        generator, onnx, metadata, precision=precision, half_weights=half_weights, calibration=calibration
    )
    return ExportResult(onnx, onnx.stat().st_size, written)
