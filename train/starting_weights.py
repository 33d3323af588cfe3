"""What a run starts from: the line detectors and weights that earlier stages left."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from engines.errors import OptionsError
from train.build import make_discriminators, make_generator
from train.checkpoint import checkpoints, load_checkpoint
from train.line_detectors import load_detectors
from train.model_file import load_generator
from train.networks import LineDetectors
from train.options import TrainOptions

RESULTS: Final = {
    "auxiliary": "lines.safetensors",
    "local": "generator.safetensors",
    "pretrain": "generator.safetensors",
    "formal": "generator.safetensors",
}
"""What each stage leaves in its run folder."""

_log = logging.getLogger(f"apdraw.{__name__}")


@dataclass(frozen=True)
class Inputs:
    """What a run reads.

    Attributes:
        dataset: a prepared data set, or the authors' layout.
        start: a run folder, finished or stopped, or a model file with pre-trained weights.
        lines: an auxiliary run's folder or its `lines.safetensors`.
    """

    dataset: Path
    start: Path | None = None
    lines: Path | None = None


def load_inputs(
    inputs: Inputs, options: TrainOptions, *, resume: bool
) -> tuple[LineDetectors | None, dict[str, dict[str, Tensor]] | None]:
    """The line detectors and the weights to start from, by network, where the stage wants them; else None.

    Raises:
        OptionsError: one is missing, not wanted, or of another global network than the options say.
        ModelError: one cannot be used.
        CheckpointError: the checkpoint of the run to start from cannot be read.
    """
    detectors: LineDetectors | None = None
    start: dict[str, dict[str, Tensor]] | None = None
    if options.stage == "auxiliary":
        if inputs.start or inputs.lines:
            raise OptionsError("the auxiliary stage starts from nothing: leave out --from and --lines")
        return None, None
    if options.distance_weight:
        if inputs.lines is None:
            raise OptionsError(
                "L_DT needs line detectors: name an auxiliary run with --lines (made by apdraw train DATASET "
                "--stage auxiliary), or leave the loss out with --preset no-dt"
            )
        detectors = load_detectors(_result_of(inputs.lines, "auxiliary"))
    if resume:
        return detectors, None  # the checkpoint has everything
    if inputs.start is not None:
        start = _starting_weights(inputs.start, options)
    elif options.stage == "formal" and options.pretrained:
        raise OptionsError(
            "formal training starts from pre-trained weights: name a run or a model with --from (made by apdraw train "
            "DATASET --stage pretrain), or train without with --preset no-pretrain"
        )
    return detectors, start


def _starting_weights(path: Path, options: TrainOptions) -> dict[str, dict[str, Tensor]]:
    """Generator weights of a model or a run, and its discriminators where a checkpoint has them.

    A run that was stopped has no result yet: its newest checkpoint's weights are what it would have been, the running
    mean where it keeps one. What has another width than asked for starts anew, but for the global network.
    """
    saved = load_checkpoint(path)["networks"] if path.is_dir() and checkpoints(path) else {}
    fresh = make_generator(options)
    if "generator" in saved and not (path / RESULTS["pretrain"]).exists():
        weights = saved.get("mean", saved["generator"])
    else:
        generator, _ = load_generator(_result_of(path, "pretrain"))
        weights = generator.state_dict()
    anew = {name.partition(".")[0] for name in _unlike(weights, fresh.state_dict())}
    if "whole" in anew or _networks(weights) != _networks(fresh.state_dict()):
        raise OptionsError(
            f"{path} has other networks than asked for ({fresh.config.to_json()}): give --width and --preset as it "
            "was made with"
        )
    for name in sorted(anew):
        _log.warning("the network %s in %s has another width and starts anew", name, path)
    start = {"generator": {**weights, **{k: v for k, v in fresh.state_dict().items() if k.partition(".")[0] in anew}}}
    discriminators = saved.get("discriminators", {})
    if discriminators and not _unlike(discriminators, make_discriminators(options).state_dict()):
        start["discriminators"] = discriminators
    elif discriminators:
        _log.warning("the discriminators in %s have another width and start anew", path)
    return start


def _networks(weights: dict[str, Tensor]) -> set[str]:
    return {name.partition(".")[0] for name in weights}


def _unlike(weights: dict[str, Tensor], others: dict[str, Tensor]) -> set[str]:
    """The names of weights that are missing in one of the two, or have another shape."""
    shapes, other_shapes = ({name: value.shape for name, value in each.items()} for each in (weights, others))
    return {name for name in shapes.keys() | other_shapes.keys() if shapes.get(name) != other_shapes.get(name)}


def _result_of(path: Path, stage: str) -> Path:
    """A run's result, or the file itself."""
    if not path.is_dir():
        return path
    found = path / RESULTS[stage]
    if not found.exists():
        raise OptionsError(f"{path} holds no {found.name}: name a run of that stage, or its result")
    return found
