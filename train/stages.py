"""The stages of training (sec. 6): what is trained, on what, and what one step of it does."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from train.build import make_detectors, make_discriminators, make_generator
from train.data.crops import Crop
from train.data.line_pairs import LinePair
from train.data.pairs import Pair
from train.devices import Fabric
from train.line_detectors import line_loss, save_detectors
from train.losses import (
    discriminator_loss,
    distance_transform_loss,
    generator_adversarial_loss,
    ink_loss,
    local_ink_losses,
    local_losses,
    pixel_loss,
    term_weights,
)
from train.model_file import save_generator
from train.networks import Generator, LineDetectors, Regions
from train.networks.regions import masked, whitened
from train.options import TrainOptions
from train.run_log import Picture

BETAS: Final = (0.5, 0.999)
"""Of Adam (sec. 6)."""

Weights = dict[str, dict[str, Tensor]]
"""State dicts by network: `generator`, `discriminators`."""


class Stage(Protocol):
    """One stage on one device.

    Attributes:
        networks: networks that checkpoints hold, by name.
        optimisers: optimisers of the networks that are trained, by name.
    """

    networks: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    def step(self, batch: Any) -> dict[str, Tensor]:
        """Learns from a batch; returns the losses by name, as scalars."""

    def picture(self, batch: Any) -> Picture:
        """Shows what the networks make of a batch."""

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Writes the stage's result."""


def make_stage(
    fabric: Fabric, options: TrainOptions, detectors: LineDetectors | None = None, start: Weights | None = None
) -> Stage:
    """The stage that the options name.

    Args:
        fabric: a launched Fabric.
        options: options of the run.
        detectors: trained line detectors, where L_DT counts.
        start: weights to begin with.
    """
    if options.stage == "auxiliary":
        return AuxiliaryStage(fabric, options)
    if options.stage == "local":
        return LocalStage(fabric, options, start)
    return AdversarialStage(fabric, options, detectors, start)


class AdversarialStage:
    """Pre-training and formal training: the generator against the seven discriminators (eq. 1).

    Args:
        fabric: a launched Fabric.
        options: options of the run.
        detectors: trained line detectors, where L_DT counts.
        start: weights to begin with.

    Attributes:
        generator: the generator that is trained.
    """

    def __init__(
        self,
        fabric: Fabric,
        options: TrainOptions,
        detectors: LineDetectors | None = None,
        start: Weights | None = None,
    ) -> None:
        self._fabric = fabric
        self._options = options
        self._weights = term_weights(options)
        self.generator = make_generator(options)
        discriminators = make_discriminators(options)
        if start:
            self.generator.load_state_dict(start["generator"])
            if "discriminators" in start:
                discriminators.load_state_dict(start["discriminators"])
        self._generator, optimiser = set_up(fabric, self.generator, options)
        self._ema = Ema(self.generator, options.ema_decay)
        self.networks = {"generator": self.generator} | self._ema.networks
        self.optimisers = {"generator": optimiser}
        self._adversary: Adversary | None = None
        if options.adversarial_weight:
            self._adversary = Adversary(fabric, discriminators, options)
            self.networks["discriminators"] = discriminators
            self.optimisers["discriminators"] = self._adversary.optimiser
        self._detectors = None
        if detectors is not None:
            self._detectors = detectors.requires_grad_(False).eval().to(fabric.device)

    def step(self, batch: Pair) -> dict[str, Tensor]:
        """One step of the discriminators, if they count, then one of the generator."""
        options, losses, terms = self._options, {}, {}
        photo = _channels_last(batch.photo)
        regions = Regions.of(batch.landmarks, batch.mask)
        output = self._generator(photo, batch.landmarks, batch.mask)
        drawing = output.drawing.float()
        if self._adversary:
            losses["D"] = self._adversary.learn((photo, batch.drawing, regions), (photo, drawing.detach(), regions))
            terms["G_adv"] = self._adversary.loss_of_generator((photo, drawing, regions))
        terms["G_L1"] = pixel_loss(drawing, batch.drawing, options.line_weight)
        if output.parts is not None:
            terms["G_local"] = _sum(local_losses(output.parts, batch.drawing, regions, options.line_weight))
        if options.ink_weight:
            terms["G_ink"] = ink_loss(drawing, batch.drawing, options.line_weight)
            if output.parts is not None:
                local = local_ink_losses(output.parts, batch.drawing, regions, options.line_weight)
                terms["G_local_ink"] = _sum(local)
        if self._detectors is not None:
            terms["G_DT"] = distance_transform_loss(drawing, batch.drawing, self._detectors)
        total = _weighted(terms, self._weights)
        learn(self._fabric, self.optimisers["generator"], total)
        self._ema.update()
        return _detached({**losses, **terms, "G": total})

    def picture(self, batch: Pair) -> Picture:
        """Photo, drawing and artist's drawing from left to right, one portrait a row, half size."""
        with drawing_with(self._ema.kept), self._fabric.autocast():
            drawing = self._ema.kept(batch.photo, batch.landmarks, batch.mask).drawing.float()
        return _half(_grid([batch.photo, drawing, batch.drawing]))

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Writes the generator, or the moving average of its weights, as a model file.

        Raises:
            ModelError: it cannot be written.
        """
        save_generator(path, self._ema.kept, metadata)


class LocalStage:
    """The local networks alone, each on crops of its own region: no global network, no fusion.

    A step of an eye's network on its crops costs a fiftieth of a whole step, so that it can see every eye thousands of
    times. Each learns by its part of L_local and of `ink_loss`, and where local discriminators count by its part
    of L_adv, with the weights that these have in eq. 1.

    Args:
        fabric: a launched Fabric.
        options: options of the run; `regions` says which networks are trained.
        start: weights to begin with.
    """

    def __init__(self, fabric: Fabric, options: TrainOptions, start: Weights | None = None) -> None:
        self._fabric = fabric
        self._options = options
        self._weights = term_weights(options)
        generator = make_generator(options)
        discriminators = make_discriminators(options)
        if start:
            generator.load_state_dict(start["generator"])
            if "discriminators" in start:
                discriminators.load_state_dict(start["discriminators"])
        regions = options.local_regions()
        local = _ByRegion({region: generator.get_submodule(region) for region in regions})
        generator.to(fabric.device).requires_grad_(False)
        self._local, optimiser = set_up(fabric, local.requires_grad_(True), options)
        self._ema = Ema(generator, options.ema_decay)
        self.networks = {"generator": generator} | self._ema.networks
        self.optimisers = {"generator": optimiser}
        self._adversary: Adversary | None = None
        if options.local_adversarial_weight:
            judges = _ByRegion({region: discriminators.parts[region] for region in regions})
            self._adversary = Adversary(fabric, judges, options)
            self.networks["discriminators"] = discriminators.to(fabric.device)
            self.optimisers["discriminators"] = self._adversary.optimiser

    def step(self, batch: Mapping[str, Crop]) -> dict[str, Tensor]:
        """One step of the local discriminators, if they count, then one of the local networks."""
        options, losses, terms = self._options, {}, {}
        output = self._local({region: _channels_last(crop.photo) for region, crop in batch.items()})
        drawn = {region: masked(output[region].float(), crop.mask) for region, crop in batch.items()}
        wanted = {region: masked(crop.drawing, crop.mask) for region, crop in batch.items()}
        if self._adversary:
            real, fake = ({r: torch.cat((batch[r].photo, side[r]), dim=1) for r in batch} for side in (wanted, drawn))
            losses["D"] = self._adversary.learn((real,), ({r: pair.detach() for r, pair in fake.items()},))
            terms["G_adv"] = self._adversary.loss_of_generator((fake,))
        terms["G_local"] = _sum(pixel_loss(drawn[r], wanted[r], options.line_weight) for r in batch)
        if options.ink_weight:
            pairs = ((whitened(output[r], crop.mask), whitened(crop.drawing, crop.mask)) for r, crop in batch.items())
            terms["G_local_ink"] = _sum(ink_loss(*pair, options.line_weight) for pair in pairs)
        total = _weighted(terms, self._weights)
        learn(self._fabric, self.optimisers["generator"], total)
        self._ema.update()
        return _detached({**losses, **terms, "G": total})

    def picture(self, batch: Mapping[str, Crop]) -> Picture:
        """For each region photo, drawing and artist's drawing from left to right, one portrait a row."""
        grids = []
        for region, crop in batch.items():
            network = self._ema.kept.get_submodule(region)
            with drawing_with(network), self._fabric.autocast():
                drawing = whitened(network(crop.photo).float(), crop.mask)
            grids.append(_grid([crop.photo, drawing, whitened(crop.drawing, crop.mask)]))
        height = max(len(grid) for grid in grids)
        padded = [np.pad(grid, ((0, height - len(grid)), (0, 8), (0, 0)), constant_values=255) for grid in grids]
        return np.concatenate(padded, axis=1)

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Writes the whole generator, its other networks as they were, as a model file.

        Raises:
            ModelError: it cannot be written.
        """
        save_generator(path, self._ema.kept, metadata)


class AuxiliaryStage:
    """The two line detectors of L_DT, on two-tone drawings and their lines.

    Args:
        fabric: a launched Fabric.
        options: options of the run.
    """

    def __init__(self, fabric: Fabric, options: TrainOptions) -> None:
        self._fabric = fabric
        self.detectors = make_detectors(options)
        self._detectors, optimiser = set_up(fabric, self.detectors, options)
        self.networks: dict[str, nn.Module] = {"detectors": self.detectors}
        self.optimisers = {"detectors": optimiser}

    def step(self, batch: LinePair) -> dict[str, Tensor]:
        """One step of both detectors."""
        loss = line_loss(self._detectors(_channels_last(batch.drawing)), batch)
        learn(self._fabric, self.optimisers["detectors"], loss)
        return _detached({"lines": loss})

    def picture(self, batch: LinePair) -> Picture:
        """Drawing, black lines found and true, white lines found and true, one portrait a row, half size."""
        with torch.inference_mode(), self._fabric.autocast():
            found = self.detectors(batch.drawing)
        black, white = (1 - 2 * logits.float().sigmoid() for logits in found)
        return _half(_grid([batch.drawing, black, 1 - 2 * batch.black, white, 1 - 2 * batch.white]))

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Writes the detectors.

        Raises:
            ModelError: the file cannot be written.
        """
        save_detectors(path, self.detectors, metadata)


class Adversary:
    """Discriminators that learn to tell an artist's drawings from generated ones, and what the generator loses by it.

    Args:
        fabric: a launched Fabric.
        discriminators: return logits by name; `real` and `fake` below are the arguments of their forward.
        options: options of the run.

    Attributes:
        optimiser: optimiser of the discriminators.
    """

    def __init__(self, fabric: Fabric, discriminators: nn.Module, options: TrainOptions) -> None:
        self._fabric = fabric
        self._local_weight = options.local_adversarial_weight
        self._discriminators = discriminators
        self._both, self.optimiser = set_up(fabric, _Both(discriminators), options)

    def learn(self, real: tuple[Any, ...], fake: tuple[Any, ...]) -> Tensor:
        """One step of the discriminators; `fake` is detached from the generator. Returns their loss."""
        loss = discriminator_loss(*self._both(real, fake))
        learn(self._fabric, self.optimiser, loss)
        return loss

    def loss_of_generator(self, fake: tuple[Any, ...]) -> Tensor:
        """L_adv for the generator; its gradient reaches the drawings in `fake`, not the discriminators."""
        self._discriminators.requires_grad_(False)
        with self._fabric.autocast():
            logits = self._discriminators(*fake)
        self._discriminators.requires_grad_(True)
        return generator_adversarial_loss(logits, self._local_weight)


class Ema:
    """An exponential moving average (EMA) of a generator's weights: those that are trained, and all buffers.

    Args:
        generator: the trained generator, on its device; weights that need no gradient are not averaged.
        decay: share of the old average that a step keeps; 0 for no average.

    Attributes:
        kept: the generator that draws and is saved: the average, or without one the trained generator itself.
        networks: the average by its name in checkpoints; empty without one.
    """

    def __init__(self, generator: Generator, decay: float) -> None:
        self.kept = generator
        self.networks: dict[str, nn.Module] = {}
        if not decay:
            return
        self.kept = copy.deepcopy(generator).requires_grad_(False)
        self.networks = {"mean": self.kept}
        pairs = zip(self.kept.parameters(), generator.parameters(), strict=True)
        self._averages, self._trained = zip(*((a, b) for a, b in pairs if b.requires_grad), strict=True)
        self._buffers = list(zip(self.kept.buffers(), generator.buffers(), strict=True))
        self._average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights after a step into the average."""
        if not self.networks:
            return
        self._average(list(self._averages), list(self._trained), None)
        for average, trained in self._buffers:
            average.copy_(trained)


class _Both(nn.Module):
    """A network on two inputs in one call: what DDP allows between two backwards."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, Any]:
        return self.network(*first), self.network(*second)


class _ByRegion(nn.Module):
    """Networks of some regions as one module."""

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {region: self.networks[region](x) for region, x in inputs.items()}


def set_up(fabric: Fabric, network: nn.Module, options: TrainOptions) -> tuple[Any, torch.optim.Optimizer]:
    """A network on its device, in the memory format that convolutions like best, and its optimiser."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for weight in network.parameters():
        if weight.dim() == 4 and weight.shape[1] == 1:
            # Of one channel it lies the same way in both formats, but only with plain strides is its gradient's layout
            # the same to DDP, which warns of others.
            weight.data = weight.detach().clone(memory_format=torch.contiguous_format)
    network.to(fabric.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=options.lr, betas=BETAS, fused=fabric.device.type != "meta")
    made, its = fabric.setup(torch.compile(network) if options.compile else network, optimiser)
    return made, its


def learn(fabric: Fabric, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of what an optimiser holds, down a loss."""
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(loss)
    optimiser.step()


@contextmanager
def drawing_with(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients."""
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(training)


def _weighted(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def _sum(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(tuple(losses)).sum()


def _detached(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: loss.detach() for name, loss in losses.items()}


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _grid(columns: list[Tensor]) -> Picture:
    """Pictures float [B, 1 or 3, H, W] in [-1, 1] side by side, one of the batch a row."""
    strips = []
    for column in columns:
        values = column.expand(-1, 3, -1, -1).float().cpu().permute(0, 2, 3, 1).numpy()
        strips.append(np.clip(values * 127.5 + 128, 0, 255).astype(np.uint8))
    return np.concatenate([np.concatenate(list(strip), axis=0) for strip in strips], axis=1)


def _half(picture: Picture) -> Picture:
    """The picture at half its size."""
    height, width = picture.shape[:2]
    return np.asarray(cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)
