"""What the smaller commands are asked for: options in frozen dataclasses. To add an option, add a field."""

from dataclasses import dataclass, field
from pathlib import Path

from engines.errors import OptionsError
from engines.options import EngineOptions, FilePrecision, ModelOptions, check, option
from train.data.layout import Split


@dataclass(frozen=True)
class MeasureOptions:
    """What `apdraw evaluate` measures.

    Raises:
        OptionsError: a value that is not allowed, or values that contradict each other.
    """

    split: Split = option("val", "Which of the data set's portraits are measured.")
    limit: int | None = option(None, "Measure only the first so many portraits.", min=1, shown="all")
    fid: bool | None = option(
        None,
        "Measure FID, and fail where it cannot be had; or leave it out.",
        names=("--fid/--no-fid",),
        shown="measured if possible",
    )
    features: Path | None = option(
        None,
        "FID's weights: the file weights-inception-2015-12-05-6726825d.pth of torch-fidelity.",
        shown="downloaded",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.fid is False and self.features is not None:
            raise OptionsError("--no-fid and --features contradict each other: leave out one of them")

    @property
    def fid_is_a_must(self) -> bool:
        """Whether to fail without FID: it was asked for, or its weights were named."""
        return self.fid is True or self.features is not None


@dataclass(frozen=True)
class EvaluateOptions:
    """What `apdraw evaluate` is asked for.

    Attributes:
        model: a `.safetensors` or `.onnx` file, or a folder of drawings named like the data set's portraits.
        dataset: a prepared data set, or one in the authors' layout.
        output: folder for `save`, made before anything is drawn.
        measure: what is measured.
        engine: what draws; FID's features are computed on its device too.
    """

    model: Path
    dataset: Path
    output: Path | None = None
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        if self.model.is_dir():
            named = {"--engine": self.engine.engine != "auto", "--precision": self.engine.precision != "auto"}
            for name in (name for name, given in named.items() if given):
                raise OptionsError(f"{self.model} is a folder of drawings, which nothing draws: leave out {name}")


@dataclass(frozen=True)
class TimingOptions:
    """What `apdraw bench` times, and how often.

    Raises:
        OptionsError: a value that is not allowed.
    """

    limit: int = option(60, "Use the first so many photos.", min=1)
    rounds: int = option(3, "How often each is timed; what is told is the median of the rounds.", min=1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class BenchOptions:
    """What `apdraw bench` is asked for.

    Attributes:
        sources: photos and folders.
        model: which generator draws, a `.onnx` file.
        timing: what is timed, and how often.
        engine: what draws in the conversions that are timed.
    """

    sources: tuple[str, ...]
    model: ModelOptions = field(default_factory=ModelOptions)
    timing: TimingOptions = field(default_factory=TimingOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)


@dataclass(frozen=True)
class ServeOptions:
    """How `apdraw serve` serves.

    Raises:
        OptionsError: a value that is not allowed.
    """

    host: str = option(
        "127.0.0.1", "Address to listen at; 0.0.0.0 for all, which makes it reachable from other machines."
    )
    port: int = option(8000, "Port to listen at. 0: one that is free.", min=0, max=65535)
    max_upload: float = option(25.0, "Refuse photos that are larger.", metavar="MB", above=0, max=2000)
    queue: int = option(64, "Refuse a photo while so many are waiting or being drawn.", min=1)
    time_limit: float = option(
        60.0, "Give a request up that takes longer, from its first byte to its drawing.", metavar="SECONDS", above=0
    )
    workers: int | None = option(
        None, "Processes that prepare photos.", min=1, shown="what suits the machine", panel="Drawing"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ExportOptions:
    """How `apdraw export` writes a model.

    Raises:
        OptionsError: a value that is not allowed, or values that contradict each other.
    """

    precision: FilePrecision | None = option(
        None,
        "The number format that the graph computes in; fp16 and int8 only where that keeps the drawing.",
        shown="fp32, and OUT.fp16.onnx for GPUs beside it",
    )
    calibration: Path | None = option(
        None,
        "For int8: a prepared data set, on whose portraits the ranges of numbers are measured.",
        metavar="DATASET",
    )
    half_weights: bool = option(
        False,
        "Store the weights in half precision: a file of half the size, which draws as before. OUT.fp16.onnx then takes "
        "its weights from OUT.onnx beside it.",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.precision == "int8" and self.calibration is None:
            raise OptionsError(
                "int8 is calibrated on portraits: name a data set with --calibration (made by apdraw prepare)"
            )
        if self.precision != "int8" and self.calibration is not None:
            raise OptionsError(
                f"--calibration is for --precision int8, not for {self.precision or 'fp32'}: leave it out"
            )


@dataclass(frozen=True)
class ImportOptions:
    """Which checkpoint `apdraw import-weights` reads, and what the model says of itself.

    Raises:
        OptionsError: a value that is not allowed.
    """

    epoch: str | None = option(None, "Which epoch of a folder's.", shown="latest, else the highest")
    name: str | None = option(None, "Name of the model.", shown="the file's")
    licence: str = option("", "Licence of the weights, as far as you know it, for the model's description.")
    training_data: str = option("", "What the weights were trained on, for the model's description.")

    def __post_init__(self) -> None:
        check(self)
