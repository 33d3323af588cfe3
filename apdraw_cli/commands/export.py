"""`apdraw export`: a model becomes one self-contained ONNX file."""

from dataclasses import dataclass
from pathlib import Path

from apdraw_cli.commands.options import ExportOptions
from engines.errors import UnfitError, UsageError

INSTALL = "python -m pip install 'apdraw[export]'"


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
    options: ExportOptions | None = None,
) -> ExportResult:
    """Exports a model, after checking that ONNX Runtime draws with it what torch draws.

    Args:
        model: a `.safetensors` file of this program.
        onnx: the `.onnx` file to write; replaced where it exists.
        options: how; `fp16` and `int8` are refused where they change the drawing.

    Raises:
        UsageError: `model` or `onnx` is of another kind.
        DatasetError: the data set to calibrate on cannot be used.
        UnfitError: a package is missing, the model cannot be used, or its graph draws something else.
    """
    options = options or ExportOptions()
    if model.suffix.lower() != ".safetensors":
        raise UsageError(f"cannot export {model}: a model to export is a .safetensors file")
    if onnx.suffix.lower() != ".onnx":
        raise UsageError(f"cannot export to {onnx}: its name must end in .onnx")
    if not onnx.parent.is_dir():
        raise UsageError(f"cannot export to {onnx}: there is no folder {onnx.parent}; make it first")
    try:
        import onnx as _onnx  # noqa: F401
        import onnxscript  # noqa: F401

        from train.export.to_onnx import export_onnx
        from train.model_file import load_generator
    except ImportError as error:
        raise UnfitError(f"exporting needs {error.name}; install it with: {INSTALL}") from error
    generator, metadata = load_generator(model)
    written = export_onnx(
        generator,
        onnx,
        metadata,
        precision=options.precision,
        half_weights=options.half_weights,
        calibration=options.calibration,
    )
    return ExportResult(onnx, onnx.stat().st_size, written)
