"""Pre-training: the whole hierarchical GAN on photos with two-tone drawings, without L_DT (sec. 6 of the paper).

    python -m train.pretrain DATASET --output RUN

Each step: the seven discriminators on the artist's and the generated drawing, then the generator on
L_adv + 100 L_1 + 25 L_local (eq. 1). The generator that is kept is the running mean of the trained weights: it draws
more evenly than the last step's. With batches of one it has learnt with each photo's own norm statistics, and keeps
drawing with them unless told otherwise.
"""

import argparse
import copy
import dataclasses
import json
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from train.dataset import Augmentation, Pair, PortraitPairs
from train.losses import LossWeights, discriminator_loss, generator_adversarial_loss, local_losses, pixel_loss
from train.model_file import save_generator
from train.networks import Discriminators, Generator, GeneratorConfig, Regions
from train.networks.config import NormStatistics

Network = TypeVar("Network", bound=nn.Module)

CALIBRATION: Final = 100
"""Batches that running norm statistics are measured on."""

FREE_ON_RESUME: Final = {"steps", "save_every", "licence", "training_data", "norm_statistics"}
"""Options that may change while a run goes on."""


@dataclass(frozen=True)
class PretrainOptions:
    """A pre-training run; the defaults are the paper's where it has any.

    Attributes:
        steps: batches to train on.
        batch_size: pairs in a batch.
        lr: of Adam; falls to zero over the last half.
        width: of the global network; the others of `GeneratorConfig` likewise.
        discriminator_width: of the seven discriminators.
        mean_decay: of the running mean of weights.
        seed: of weights, order and augmentation.
        bf16: whether to compute in bfloat16 where that is safe.
        no_dropout: whether to leave out the dropout that the paper uses as noise.
        norm_statistics: what the norms of the kept generator use; see `GeneratorConfig`.
        save_every: steps between checkpoints.
        licence: of the weights, for the model's description.
        training_data: what it learns from, for the model's description.
    """

    steps: int = 4000
    batch_size: int = 1
    lr: float = 2e-4
    width: int = 64
    local_width: int | None = None
    region_width: int | None = None
    fusion_width: int | None = None
    discriminator_width: int = 64
    mean_decay: float = 0.998
    seed: int = 0
    bf16: bool = False
    no_dropout: bool = False
    norm_statistics: NormStatistics = "photo"
    save_every: int = 200
    licence: str = ""
    training_data: str = ""


class Pretraining:
    """The networks, the optimisers and where they are in the run."""

    def __init__(self, options: PretrainOptions) -> None:
        torch.manual_seed(options.seed)
        config = GeneratorConfig(
            width=options.width,
            local_width=options.local_width or options.width,
            region_width=options.region_width or options.width,
            fusion_width=options.fusion_width or options.width,
            norm_statistics=options.norm_statistics,
        )
        self.options = options
        self.weights = LossWeights()
        self.generator = _channels_last(Generator(config))
        self.discriminators = _channels_last(Discriminators(options.discriminator_width))
        if options.no_dropout:
            for module in self.generator.modules():
                if hasattr(module, "dropout"):
                    setattr(module, "dropout", 0.0)  # noqa: B010  # not every module has it
        self.mean = copy.deepcopy(self.generator)
        self.optimisers = [
            torch.optim.Adam(network.parameters(), lr=options.lr, betas=(0.5, 0.999), foreach=True)
            for network in (self.generator, self.discriminators)
        ]
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, 2 * (1 - step / options.steps)))
            for optimiser in self.optimisers
        ]
        self.step = 0

    def train_step(self, pair: Pair) -> dict[str, float]:
        """One step of the discriminators, then one of the generator; the losses by name."""
        of_generator, of_discriminators = self.optimisers
        photo = pair.photo.contiguous(memory_format=torch.channels_last)
        regions = Regions.of(pair.landmarks, pair.mask)
        with self._autocast():
            output = self.generator(photo, pair.landmarks, pair.mask)
            drawing = output.drawing.float()
            real = self.discriminators(photo, pair.drawing, regions)
            fake = self.discriminators(photo, drawing.detach(), regions)
        loss_d = discriminator_loss(real, fake)
        of_discriminators.zero_grad(set_to_none=True)
        loss_d.backward()  # type: ignore[no-untyped-call]
        of_discriminators.step()

        self.discriminators.requires_grad_(False)
        with self._autocast():
            verdicts = self.discriminators(photo, drawing, regions)
        adversarial = generator_adversarial_loss(verdicts, self.weights.local_adversarial)
        pixel = pixel_loss(drawing, pair.drawing)
        local = torch.stack(tuple(local_losses(output.parts, pair.drawing, regions))).sum()
        loss_g = adversarial + self.weights.pixel * pixel + self.weights.local * local
        of_generator.zero_grad(set_to_none=True)
        loss_g.backward()  # type: ignore[no-untyped-call]
        of_generator.step()
        self.discriminators.requires_grad_(True)

        for schedule in self.schedules:
            schedule.step()
        self.step += 1
        self._update_mean()
        losses = {"D": loss_d, "G_adv": adversarial, "G_L1": pixel, "G_local": local}
        return {name: round(float(value.detach()), 4) for name, value in losses.items()}

    def kept_generator(self, batches: list[Pair]) -> Generator:
        """The mean of the weights; running norm statistics are measured on `batches` without dropout."""
        kept = copy.deepcopy(self.mean)
        if self.options.norm_statistics == "photo":
            return kept.eval()
        norms = [module for module in kept.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        kept.eval()
        for norm in norms:
            norm.train()
        with torch.no_grad(), self._autocast():
            for pair in batches:
                kept(pair.photo.contiguous(memory_format=torch.channels_last), pair.landmarks, pair.mask)
        return kept.eval()

    def state(self) -> dict[str, Any]:
        """Everything a run needs to go on."""
        parts: dict[str, Any] = {
            "generator": self.generator,
            "discriminators": self.discriminators,
            "mean": self.mean,
            "optimisers": self.optimisers,
            "schedules": self.schedules,
        }
        state: dict[str, Any] = {
            name: [p.state_dict() for p in part] if isinstance(part, list) else part.state_dict()
            for name, part in parts.items()
        }
        return state | {
            "step": self.step,
            "rng": torch.get_rng_state(),
            "options": dataclasses.asdict(self.options),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        self.generator.load_state_dict(state["generator"])
        self.discriminators.load_state_dict(state["discriminators"])
        self.mean.load_state_dict(state["mean"])
        for optimiser, optimiser_state in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(optimiser_state)
        for schedule, schedule_state in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(schedule_state)
        self.step = state["step"]
        torch.set_rng_state(state["rng"])

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.options.bf16)

    @torch.no_grad()
    def _update_mean(self) -> None:
        decay = min(self.options.mean_decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.mean.parameters(), self.generator.parameters(), strict=True)
        means, values = (list(tensors) for tensors in zip(*pairs, strict=True))
        torch._foreach_lerp_(means, values, 1 - decay)


def pretrain(dataset: Path, run: Path, options: PretrainOptions) -> Path:
    """Trains, and goes on from the run's checkpoint where there is one.

    Args:
        dataset: a prepared data set.
        run: folder for `options.json`, `metrics.jsonl`, `checkpoint.pt` and the model.
        options: of the run.

    Returns:
        The model file, `generator.safetensors` in the run folder.

    Raises:
        ValueError: the data set or the options cannot be used, or the checkpoint was made with others.
    """
    pairs = PortraitPairs(dataset, "train", Augmentation())
    if len(pairs) < options.batch_size:
        raise ValueError(
            f"{dataset} holds {len(pairs)} portraits to train on, fewer than one batch of {options.batch_size}: "
            "prepare more photos or lower the batch size"
        )
    loader = DataLoader(pairs, options.batch_size, shuffle=True, drop_last=True, num_workers=1, prefetch_factor=4)
    training = Pretraining(options)
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        _check_options(state.get("options", {}), options, checkpoint)
        training.load_state(state)
    run.mkdir(parents=True, exist_ok=True)
    (run / "options.json").write_text(json.dumps(dataclasses.asdict(options), indent=1), encoding="utf-8")
    started, first = time.monotonic(), training.step
    while training.step < options.steps:
        for pair in loader:
            losses = training.train_step(Pair(*pair))
            if training.step % 10 == 0:
                rate = (training.step - first) / (time.monotonic() - started)
                line = {"step": training.step, **losses, "steps_per_second": round(rate, 3)}
                with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            if training.step % options.save_every == 0 or training.step == options.steps:
                _save(training.state(), checkpoint)
            if training.step >= options.steps:
                break
    calibration = [Pair(*pair) for pair in islice(loader, CALIBRATION)] if options.norm_statistics == "running" else []
    model = run / "generator.safetensors"
    metadata = {
        "name": "apdraw",
        "licence": options.licence,
        "training_data": options.training_data,
        "provenance": f"train.pretrain {json.dumps(dataclasses.asdict(options))}",
    }
    # Half precision is half the size, and changes a drawing by less than a grey level.
    save_generator(model, training.kept_generator(calibration), metadata, dtype=torch.float16)
    return model


def _channels_last(network: Network) -> Network:
    """In the memory format that convolutions on a CPU like best."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _save(state: dict[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(path)


def _check_options(saved: dict[str, Any], options: PretrainOptions, checkpoint: Path) -> None:
    for name, value in dataclasses.asdict(options).items():
        if name not in FREE_ON_RESUME and saved.get(name, value) != value:
            raise ValueError(
                f"{checkpoint} was made with {name} {saved[name]}, not {value}: "
                "go on with that value or name another run folder"
            )


def main() -> None:
    """Trains as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m train.pretrain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    for field in dataclasses.fields(PretrainOptions):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            kind = int if field.default is None else type(field.default)
            parser.add_argument(flag, type=kind, default=field.default)
    values = vars(parser.parse_args())
    try:
        pretrain(values.pop("dataset"), values.pop("output"), PretrainOptions(**values))
    except (ValueError, OSError) as error:
        # An error from the loader's process carries a whole traceback; the last line says what failed.
        parser.exit(2, f"{parser.prog}: error: {str(error).rstrip().splitlines()[-1]}\n")


if __name__ == "__main__":
    main()
