"""What a training run is made with: defaults by stage, presets, a TOML file, and what was said on top (sec. 6)."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

from engines.errors import OptionsError
from engines.options import check, described, option, spelled
from engines.regular_files import read_regular

MOST_BYTES: Final = 2**20
"""Of a TOML file."""

Stage = Literal["auxiliary", "local", "pretrain", "formal"]
NormStatistics = Literal["photo", "running"]

REGIONS: Final = ("eye_left", "eye_right", "nose", "mouth", "hair", "background")
"""The local networks, in the order of `train.networks.regions.LocalParts`."""

STAGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "auxiliary": {"epochs": 10, "lr": 1e-3, "batch_size": 4},
    "local": {
        "epochs": 100,
        "lr": 1e-3,
        "lr_decay": 0.5,
        "batch_size": 12,
        "ema_decay": 0.99,
        "ink_weight": 1.0,
        "distance_weight": 0.0,
        "local_adversarial_weight": 0.0,
    },
    "pretrain": {"epochs": 10, "distance_weight": 0.0},
    "formal": {"epochs": 300},
}
"""What a stage sets differently from `TrainOptions`; the paper pre-trains without L_DT."""

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "paper": {},
    "no-local": {"local_networks": False},
    "no-dt": {"distance_weight": 0.0},
    "no-pretrain": {"pretrained": False},
    "pix2pix": {"local_networks": False, "distance_weight": 0.0, "pretrained": False},
}
"""The paper's ablations (sec. 7.1) and its baseline; what each changes."""

OLD_NAMES: Final[Mapping[str, str]] = {"mean_decay": "ema_decay"}
"""Names that options had in TOML files, commands and checkpoints of older runs, which are still read."""


@dataclass(frozen=True)
class TrainOptions:
    """A training run; the defaults are the paper's.

    Raises:
        OptionsError: a value that is not allowed, or values that contradict each other.
    """

    stage: Stage = option(
        "formal",
        "What is trained. auxiliary: the line detectors of L_DT. local: the local networks alone, on crops of their "
        "regions. pretrain: the GAN, on two-tone drawings. formal: the GAN, on an artist's drawings, from pre-trained "
        "weights.",
        common=True,
    )
    preset: Literal["paper", "no-local", "no-dt", "no-pretrain", "pix2pix"] = option(
        "paper", "The paper's method, one of its ablations, or Pix2Pix.", common=True
    )
    epochs: int = option(
        300,
        "Times that every pair is seen.",
        shown="10; local 100; formal 300",
        above=0,
        panel="Schedule",
        common=True,
        free=True,
    )
    steps: int | None = option(
        None,
        "Batches to train on, in place of --epochs.",
        above=0,
        panel="Schedule",
        common=True,
        free=True,
    )
    batch_size: int = option(
        1,
        "Pairs in a batch, on each device.",
        shown="1; auxiliary 4; local 12",
        above=0,
        panel="Schedule",
        common=True,
    )
    lr: float = option(
        2e-4, "Learning rate of Adam.", shown="0.0002; auxiliary, local 0.001", above=0, panel="Schedule", common=True
    )
    lr_decay: float = option(
        0.0, "Share of the run, at its end, in which the learning rate falls to zero; from 0 to 1.", min=0, max=1
    )
    width: int = option(
        64,
        "Channels of the first convolution of the global network; the other networks follow it.",
        above=0,
        panel="Networks",
        common=True,
    )
    local_width: int | None = option(
        None, "Width of the networks of eyes, nose and mouth, in channels.", shown="width", above=0
    )
    region_width: int | None = option(
        None, "Width of the networks of hair and background, in channels.", shown="width", above=0
    )
    background_width: int | None = option(
        None, "Width of the network of the background, in channels.", shown="region-width", above=0
    )
    fusion_width: int | None = option(None, "Width of the fusion network, in channels.", shown="width", above=0)
    discriminator_width: int = option(64, "Width of the seven discriminators, in channels.", above=0)
    detector_width: int = option(16, "Width of the two line detectors, in channels.", above=0)
    local_networks: bool = option(True, "Whether there are local networks and local discriminators.")
    norm_statistics: NormStatistics = option(
        "photo",
        "What instance norms subtract and divide by. photo: mean and variance of the photo being drawn. running: "
        "averages over the training portraits.",
    )
    fusion_statistics: NormStatistics | None = option(
        None, "The same for the norms of the fusion network.", shown="norm-statistics"
    )
    frozen_norms: bool = option(
        False,
        "Whether norms with running statistics keep those that they start with, or measure them once at the start if "
        "they have none; for fine-tuning with batches of one.",
    )
    dropout: bool = option(True, "Whether the generator has dropout, which is the paper's noise.")
    pretrained: bool = option(True, "Whether formal training starts from the weights of --from.")
    adversarial_weight: float = option(
        1.0,
        "Weight of L_adv, by which the discriminators judge the drawings: the paper's is 1; 0 leaves them out.",
        min=0,
    )
    pixel_weight: float = option(100.0, "Weight of L_1, the difference of pixels: the paper's lambda_1.", min=0)
    line_weight: float = option(0.0, "How much more L_1, L_local and the loss of ink count on thin lines.", min=0)
    ink_weight: float = option(
        0.0,
        "Weight, beside L_1 and L_local, of the cross entropy and Dice loss of ink, for drawings of thin lines; 0 "
        "leaves it out.",
        shown="0; local 1",
        min=0,
    )
    distance_weight: float = option(
        0.1,
        "Weight of L_DT, the distance between lines: the paper's lambda_2; 0 leaves it out.",
        shown="0.1; pretrain 0",
        min=0,
    )
    local_weight: float = option(25.0, "Weight of L_local, the difference in local parts: the paper's lambda_3.", min=0)
    local_adversarial_weight: float = option(
        1.0, "Weight of each local discriminator in L_adv; the paper's is 1, the authors' program's 0.25.", min=0
    )
    ema_decay: float = option(
        0.0,
        "Decay of the exponential moving average (EMA) of the generator's weights, which is kept in their place; from "
        "0 (none) to under 1.",
        min=0,
        below=1,
    )
    regions: str = option(
        "all", f"Which local networks the stage local trains: all, or some of {','.join(REGIONS)}.", metavar="NAMES"
    )
    augmentation: Literal["paper", "robust", "none"] = option(
        "paper",
        "How pairs are varied. paper: rotation and scale, and flip as in the authors' program. robust: also shift, "
        "light, blur, compression, ...",
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "The number format that is computed in; weights and losses stay in fp32."
    )
    seed: int = option(0, "Seed of weights, order, augmentation and dropout.", min=0)
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "Where is trained. auto: on GPUs where there are any.", panel="Machine", common=True, free=True
    )
    devices: int = option(1, "Devices on each machine; under torchrun, those that it says.", above=0, free=True)
    nodes: int = option(1, "Machines; under torchrun, those that it says.", above=0, free=True)
    workers: int = option(1, "Processes that read pairs, for each device.", min=0, free=True)
    compile: bool = option(
        False, "Whether torch compiles the networks; takes minutes, and on a CPU a C++ compiler.", free=True
    )
    log_every: int = option(10, "Steps between two lines of metrics.jsonl.", above=0, free=True)
    picture_every: int = option(200, "Steps between two pictures of how the run goes.", above=0, free=True)
    save_every: int = option(200, "Steps between two checkpoints.", above=0, free=True)
    keep: int = option(3, "How many checkpoints are kept.", above=0, free=True)
    name: str = option("apdraw", "Name of the model, for its description.", free=True)
    licence: str = option("", "Licence of the weights, for their description.", free=True)
    training_data: str = option("", "What the weights learn from, in words, for their description.", free=True)

    def __post_init__(self) -> None:
        check(self)
        self.local_regions()
        if self.stage == "local" and not self.local_networks:
            raise OptionsError("the stage local trains local networks: leave out what takes them away")
        if self.precision == "fp16" and self.device == "cpu":
            raise OptionsError("fp16 trains on GPUs only; on a CPU use bf16 or fp32")

    def local_regions(self) -> tuple[str, ...]:
        """The names of `regions`, in the order of `REGIONS`."""
        named = set(REGIONS) if self.regions == "all" else {name.strip() for name in self.regions.split(",")}
        unknown = sorted(named.difference(REGIONS))
        if unknown:
            known = ", ".join(REGIONS)
            raise OptionsError(f"regions must be all or some of {known}, not {', '.join(unknown) or 'none'}")
        return tuple(name for name in REGIONS if name in named)


def resolve(given: Mapping[str, Any], config: Path | None = None) -> TrainOptions:
    """Puts options together; what comes later counts more: defaults, stage, preset, TOML file, what was given.

    Args:
        given: options by name; None where nothing was said.
        config: a TOML file with the same names, with hyphens or underscores.

    Raises:
        OptionsError: an unknown name, or a value that cannot be used.
    """
    said = (read_config(config) if config else {}) | {name: value for name, value in given.items() if value is not None}
    stage, preset = said.get("stage", "formal"), said.get("preset", "paper")
    for name, value, known in (("stage", stage, STAGES), ("preset", preset, PRESETS)):
        if not isinstance(value, str) or value not in known:
            raise OptionsError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    return TrainOptions(**{**STAGES[stage], **PRESETS[preset], **said})


def read_config(path: Path) -> dict[str, Any]:
    """The options that a TOML file sets.

    Raises:
        OptionsError: unreadable, no TOML, or an unknown name.
    """
    import tomllib

    try:
        values = tomllib.loads(read_regular(path, MOST_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise OptionsError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, or lists in lists in lists
        raise OptionsError(f"{path} is no TOML file: {error}") from error
    options = _renamed({name.replace("-", "_"): value for name, value in values.items()})
    unknown = sorted(options.keys() - described(TrainOptions).keys())
    if unknown:
        raise OptionsError(
            f"{path} sets unknown options: {', '.join(unknown)}; apdraw train --list-options lists those that there are"
        )
    return options


def to_toml(options: TrainOptions) -> str:
    """The options as a TOML file that `read_config` reads; those that are None are left out."""
    values = dataclasses.asdict(options)
    # A JSON string, number or boolean is the same in TOML.
    return "".join(f"{spelled(name)} = {json.dumps(value)}\n" for name, value in values.items() if value is not None)


def changed(saved: Mapping[str, Any], options: TrainOptions) -> str | None:
    """Why a run that was made with other options cannot go on with these, or None if it can."""
    now, saved = dataclasses.asdict(options), _renamed(saved)
    for name, (field, _) in described(TrainOptions).items():
        if name in saved and not field.metadata["free"] and now[name] != saved[name]:
            return f"{spelled(name)} was {saved[name]} so far, not {now[name]}"
    return None


def typed(assignments: Sequence[str]) -> dict[str, Any]:
    """Options written as NAME=VALUE, as of `--set`; words as they are, all else as in TOML.

    Raises:
        OptionsError: an unknown name, or no `=`.
    """
    import tomllib

    known = described(TrainOptions)
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        key = name.strip().replace("-", "_")
        key = OLD_NAMES.get(key, key)
        if not equals or key not in known:
            raise OptionsError(f"--set {assignment}: name an option of apdraw train --list-options, as in width=24")
        values[key] = text
        if get_type_hints(TrainOptions)[key] is not str:
            with contextlib.suppress(ValueError):  # a word
                values[key] = tomllib.loads(f"value = {text}")["value"]
    return values


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the names of today."""
    return {OLD_NAMES.get(name, name): value for name, value in values.items()}
