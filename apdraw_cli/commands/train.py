"""`apdraw train`: the stages of the paper's training (sec. 6)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apdraw_cli.datasets.records import UNFINISHED
from engines.errors import DatasetError, ExitCode, UnfitError, first_line
from engines.installed import pip_install
from engines.machine_faults import machine_fault

if TYPE_CHECKING:
    from train.loop import TrainListener


@dataclass(frozen=True)
class TrainResult:
    """What a run left.

    Attributes:
        run: the run folder.
        stage: that was trained.
        result: the model file, or the line detectors; None on another process than the first.
        interrupted_at: the step of the checkpoint saved when the run was asked to stop; None if it came to its end.
    """

    run: Path
    stage: str
    result: Path | None
    interrupted_at: int | None = None

    @property
    def exit_code(self) -> ExitCode:
        """Of the command."""
        return ExitCode.DONE if self.interrupted_at is None else ExitCode.INTERRUPTED


@dataclass(frozen=True)
class TrainPlan:
    """What a run would be.

    Attributes:
        config: the options, as a TOML file.
        options: the same by name.
        pairs: portraits to train on; None while the data set is being prepared.
        steps: batches in all; None if they depend on that.
        weights: that are trained, by network.
        gflop_per_step: GFLOP of a step's convolutions and products, on each device.
        memory_bytes: about what it takes on each device.
    """

    config: str
    options: dict[str, Any]
    pairs: int | None
    steps: int | None
    weights: dict[str, int]
    gflop_per_step: float
    memory_bytes: int


def plan(dataset: Path, given: Mapping[str, Any], config: Path | None) -> TrainPlan:
    """Resolves the options and counts the work they mean; writes nothing.

    Args:
        dataset: a prepared data set, one that is being prepared, or the authors' layout.
        given: options by name; None where nothing was said.
        config: a TOML file of options.

    Raises:
        UsageError: options or a data set that cannot be used.
        UnfitError: a package is missing.
    """
    _check_packages()
    from train.cost import estimate_cost
    from train.data.training import training_pairs
    from train.options import resolve, to_toml

    options = resolve(given, config)
    pairs = None
    try:
        pairs = len(training_pairs(dataset, options))
    except DatasetError:
        if not (dataset / UNFINISHED).is_dir():
            raise
    cost = estimate_cost(options)
    steps = options.steps or None
    if steps is None and pairs is not None:
        steps = options.epochs * (pairs // (options.batch_size * options.devices * options.nodes))
    return TrainPlan(
        to_toml(options),
        dataclasses.asdict(options),
        pairs,
        steps,
        cost.weights,
        cost.gflop_per_step,
        cost.memory_bytes,
    )


def train(
    dataset: Path,
    run: Path,
    given: Mapping[str, Any],
    *,
    config: Path | None = None,
    start: Path | None = None,
    lines: Path | None = None,
    resume: bool = False,
    listener: "TrainListener | None" = None,
) -> TrainResult:
    """Trains a stage; see `train.loop.train`.

    Args:
        dataset: a prepared data set, or the authors' layout.
        run: the run folder.
        given: options by name; None where nothing was said.
        config: a TOML file of options; when resuming, by default the run's own.
        start: a run or a model with pre-trained weights.
        lines: an auxiliary run or its line detectors.
        resume: go on from the run's newest checkpoint.
        listener: is told how it goes.

    Raises:
        UsageError: options, a data set or a run folder that cannot be used.
        UnfitError: a package is missing, weights cannot be used, or the run ended before its time.
    """
    _check_packages()
    from train import loop
    from train.options import resolve
    from train.starting_weights import Inputs
    from train.stop_signals import Interrupted

    if resume and config is None and (run / "config.toml").exists():
        config = run / "config.toml"
    options = resolve(given, config)
    try:
        result = loop.train(Inputs(dataset, start, lines), run, options, resume=resume, listener=listener)
    except Interrupted as stopped:
        return TrainResult(run, options.stage, None, stopped.step)
    return TrainResult(run, options.stage, result)


def next_commands(result: TrainResult, dataset: Path) -> list[str]:
    """What a user would do with a finished run."""
    if result.result is None:
        return []
    if result.stage == "auxiliary":
        return [f"apdraw train DATASET --stage formal --from PRETRAINED --lines {result.run} --output formal"]
    onnx = result.result.with_suffix(".onnx")
    return [
        f"apdraw evaluate {result.result} {dataset}",
        f"apdraw export {result.result} {onnx}",
        f"apdraw convert photos --model {onnx}",
    ]


def _check_packages() -> None:
    try:
        import tensorboard  # noqa: F401
        import torch  # noqa: F401

        import train.devices  # noqa: F401  # which imports lightning_fabric as it takes least
    except ModuleNotFoundError as error:
        raise UnfitError(f"training needs {error.name}; install it with: {pip_install('train')}") from error
    except (ImportError, OSError) as error:
        reason = machine_fault(error) or f"{first_line(error)}; install again with: {pip_install('train')}"
        raise UnfitError(f"the packages for training cannot be imported: {reason}") from error
