"""`apdraw export`: a model becomes a self-contained ONNX file, and another one in half precision for GPUs."""

from dataclasses import dataclass, replace
from pathlib import Path

from apdraw_cli.commands.options import ExportOptions
from engines.errors import ModelError, UnfitError, UsageError
from engines.installed import pip_install
from engines.options import FilePrecision
from engines.select import TWINS


@dataclass(frozen=True)
class ExportResult:
    """What was exported.

    Attributes:
        onnx: the file written.
        size: size of that file in bytes.
        metadata: what the file says about itself.
        half: the file in half precision beside it, which engines draw with on GPUs; None if none was written.
        no_half: why the model has no such file; None where it was not wanted, or is there.
    """

    onnx: Path
    size: int
    metadata: dict[str, str]
    half: "ExportResult | None" = None
    no_half: str | None = None


def export(
    model: Path,
    onnx: Path,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Exports a model, after checking that ONNX Runtime draws with it what torch draws.

    Args:
        model: a `.safetensors` file of this program.
        onnx: the `.onnx` file to write; replaced where it exists.
        options: how; `fp16` and `int8` are refused where they change the drawing. Without a precision, the graph is in
            `fp32`, and one in `fp16` is written beside it unless that changes the drawing.

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
        raise UnfitError(f"exporting needs {error.name}; install it with: {pip_install('export')}") from error
    generator, metadata = load_generator(model)

    def written(out: Path, precision: FilePrecision, lender: Path | None = None) -> ExportResult:
        told = export_onnx(
            generator,
            out,
            metadata,
            precision=precision,
            half_weights=options.half_weights,
            calibration=options.calibration,
            lender=lender,
        )
        return ExportResult(out, out.stat().st_size, told)

    if options.precision is not None:
        return written(onnx, options.precision)
    result = written(onnx, "fp32")
    try:
        twin = onnx.with_suffix(TWINS["fp16"])
        return replace(result, half=written(twin, "fp16", lender=onnx if options.half_weights else None))
    except ModelError as error:
        return replace(result, no_half=str(error))
