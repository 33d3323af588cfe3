"""The stages of training (sec. 6): what is trained, on what, and what one step of it does."""

import copy
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from train.data.pairs import Pair
from train.lines import LinePair, line_loss
from train.losses import (
    LossWeights,
    discriminator_loss,
    distance_transform_loss,
    generator_adversarial_loss,
    local_losses,
    local_tolerant_losses,
    pixel_loss,
    tolerant_loss,
)
from train.model_file import save_generator
from train.networks import Discriminators, Generator, GeneratorConfig, LineDetectors, Regions
from train.networks.blocks import Norm
from train.networks.discriminators import Verdicts
from train.options import TrainOptions
from train.run_log import Picture

BETAS: Final = (0.5, 0.999)
"""Of Adam (sec. 6)."""


class Stage(Protocol):
    """One stage on one device.

    Attributes:
        networks: what is trained, by name.
        optimisers: of those, by name.
    """

    networks: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    def step(self, batch: Any) -> dict[str, Tensor]:
        """Learns from a batch; the losses by name, as scalars."""

    def picture(self, batch: Any) -> Picture:
        """Shows what the networks make of a batch."""

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Writes the stage's result."""


class AdversarialStage:
    """Pre-training and formal training: the generator against the seven discriminators (eq. 1).

    Args:
        fabric: launched.
        options: of the run.
        detectors: trained line detectors, where L_DT counts.
        start: weights to begin with, by network: `generator`, and `discriminators` if there are any.

    Attributes:
        generator: that is trained.
    """

    def __init__(
        self,
        fabric: Fabric,
        options: TrainOptions,
        detectors: LineDetectors | None = None,
        start: dict[str, dict[str, Tensor]] | None = None,
    ) -> None:
        self._fabric = fabric
        self._weights = loss_weights(options)
        self._mean_decay = options.mean_decay
        self.generator = generator = make_generator(options)
        discriminators = make_discriminators(options)
        if start:
            generator.load_state_dict(start["generator"])
            if "discriminators" in start:
                discriminators.load_state_dict(start["discriminators"])
        self._drawn_by, of_generator = _set_up(fabric, generator, options)
        self._judge, of_discriminators = _set_up(fabric, _Judge(discriminators), options)
        self.networks: dict[str, nn.Module] = {"generator": generator, "discriminators": discriminators}
        self.optimisers = {"generator": of_generator, "discriminators": of_discriminators}
        self._discriminators = discriminators
        self._kept = generator
        if options.mean_decay:
            self._kept = copy.deepcopy(generator).requires_grad_(False)
            self.networks["mean"] = self._kept
        self._detectors = None
        if detectors is not None:
            self._detectors = detectors.requires_grad_(False).eval().to(fabric.device)

    def step(self, batch: Pair) -> dict[str, Tensor]:
        """One step of the discriminators, then one of the generator."""
        photo = batch.photo.contiguous(memory_format=torch.channels_last)
        regions = Regions.of(batch.landmarks, batch.mask)
        output = self._drawn_by(photo, batch.landmarks, batch.mask)
        drawing = output.drawing.float()
        real, fake = self._judge(photo, batch.drawing, drawing.detach(), regions)
        losses = {"D": discriminator_loss(real, fake)}
        self._learn("discriminators", losses["D"])

        self._discriminators.requires_grad_(False)
        with self._fabric.autocast():
            verdicts = self._discriminators(photo, drawing, regions)
        self._discriminators.requires_grad_(True)
        weights = self._weights
        losses["G_adv"] = generator_adversarial_loss(verdicts, weights.local_adversarial)
        losses["G_L1"] = pixel_loss(drawing, batch.drawing, weights.line)
        total = losses["G_adv"] + weights.pixel * losses["G_L1"]
        if output.parts is not None:
            local = local_losses(output.parts, batch.drawing, regions, weights.line)
            losses["G_local"] = torch.stack(tuple(local)).sum()
            total = total + weights.local * losses["G_local"]
        if weights.tolerant:
            losses["G_tolerant"] = tolerant_loss(drawing, batch.drawing, weights.tolerance)
            total = total + weights.pixel * weights.tolerant * losses["G_tolerant"]
            if output.parts is not None:
                local = local_tolerant_losses(output.parts, batch.drawing, regions, weights.tolerance)
                losses["G_local_tolerant"] = torch.stack(tuple(local)).sum()
                total = total + weights.local * weights.tolerant * losses["G_local_tolerant"]
        if self._detectors is not None:
            losses["G_DT"] = distance_transform_loss(drawing, batch.drawing, self._detectors)
            total = total + weights.distance * losses["G_DT"]
        losses["G"] = total
        self._learn("generator", total)
        self._update_mean()
        return {name: loss.detach() for name, loss in losses.items()}

    def picture(self, batch: Pair) -> Picture:
        """Photo, drawing and artist's drawing from left to right, one portrait a row, half size."""
        training = self._kept.training
        self._kept.eval()
        with torch.inference_mode(), self._fabric.autocast():
            drawing = self._kept(batch.photo, batch.landmarks, batch.mask).drawing.float()
        self._kept.train(training)
        return _grid([batch.photo, drawing, batch.drawing])

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Writes the generator, or the mean of its weights, as a model file.

        Raises:
            ModelError: it cannot be written.
        """
        save_generator(path, self._kept, metadata)

    def _learn(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        optimiser.step()

    @torch.no_grad()
    def _update_mean(self) -> None:
        if not self._mean_decay:
            return
        kept, trained = self._kept, self.networks["generator"]
        torch._foreach_lerp_(list(kept.parameters()), list(trained.parameters()), 1 - self._mean_decay)
        for own, other in zip(kept.buffers(), trained.buffers(), strict=True):
            own.copy_(other)


class AuxiliaryStage:
    """The two line detectors of L_DT, on two-tone drawings and their lines.

    Args:
        fabric: launched.
        options: of the run.
    """

    def __init__(self, fabric: Fabric, options: TrainOptions) -> None:
        self._fabric = fabric
        detectors = make_detectors(options)
        self._detectors, optimiser = _set_up(fabric, detectors, options)
        self.networks: dict[str, nn.Module] = {"detectors": detectors}
        self.optimisers = {"detectors": optimiser}

    def step(self, batch: LinePair) -> dict[str, Tensor]:
        """One step of both detectors."""
        found = self._detectors(batch.drawing.contiguous(memory_format=torch.channels_last))
        loss = line_loss(found, batch)
        optimiser = self.optimisers["detectors"]
        optimiser.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        optimiser.step()
        return {"lines": loss.detach()}

    def picture(self, batch: LinePair) -> Picture:
        """Drawing, black lines found and true, white lines found and true, one portrait a row, half size."""
        with torch.inference_mode(), self._fabric.autocast():
            found = self.networks["detectors"](batch.drawing)
        black, white = (1 - 2 * logits.float().sigmoid() for logits in found)
        return _grid([batch.drawing, black, 1 - 2 * batch.black, white, 1 - 2 * batch.white])

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Writes the detectors.

        Raises:
            ModelError: the file cannot be written.
        """
        from train.lines import save_detectors

        save_detectors(path, self.networks["detectors"], metadata)  # type: ignore[arg-type]


class _Judge(nn.Module):
    """The discriminators on an artist's and a generated drawing in one call: what DDP allows between two backwards."""

    def __init__(self, discriminators: Discriminators) -> None:
        super().__init__()
        self.discriminators = discriminators

    def forward(self, photo: Tensor, real: Tensor, fake: Tensor, regions: Regions) -> tuple[Verdicts, Verdicts]:
        return self.discriminators(photo, real, regions), self.discriminators(photo, fake, regions)


def make_generator(options: TrainOptions) -> Generator:
    """A generator with fresh weights, in training mode."""
    fields = [field.name for field in dataclasses.fields(GeneratorConfig)]
    generator = Generator(GeneratorConfig(**{name: getattr(options, name) for name in fields}))
    if not options.dropout:
        for module in generator.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    return generator


@torch.no_grad()
def measure_norms(generator: Generator, pairs: Iterable[Pair]) -> None:
    """Sets the averages of norms with running statistics to those of a generator as it is on some pairs.

    Norms that have averages already, of an earlier training, keep them.

    Args:
        generator: in training mode.
        pairs: without a batch dimension.
    """
    running = [module for module in generator.modules() if isinstance(module, Norm) and module.statistics == "running"]
    norms = [norm for norm in running if not norm.num_batches_tracked]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # the plain mean of all
    device = next(generator.parameters()).device
    for pair in pairs:
        generator(*(tensor[None].to(device) for tensor in (pair.photo, pair.landmarks, pair.mask)))
    for norm in norms:
        norm.momentum = 0.1


def freeze_norms(generator: Generator) -> None:
    """Makes norms with running statistics keep their averages, and normalise by them in training too."""
    for module in generator.modules():
        if isinstance(module, Norm) and module.statistics == "running":
            module.frozen = True
            module.eval()


def make_discriminators(options: TrainOptions) -> Discriminators:
    """Discriminators with fresh weights."""
    return Discriminators(options.discriminator_width, local_networks=options.local_networks)


def make_detectors(options: TrainOptions) -> LineDetectors:
    """Line detectors with fresh weights."""
    return LineDetectors(options.detector_width)


def loss_weights(options: TrainOptions) -> LossWeights:
    """The weights of eq. 1."""
    return LossWeights(
        pixel=options.pixel_weight,
        distance=options.distance_weight,
        local=options.local_weight,
        local_adversarial=options.local_adversarial_weight,
        line=options.line_weight,
        tolerant=options.tolerant_weight,
        tolerance=options.tolerance,
    )


def _set_up(fabric: Fabric, network: nn.Module, options: TrainOptions) -> tuple[Any, torch.optim.Optimizer]:
    """A network on its device, in the memory format that convolutions like best, and its optimiser."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.to(fabric.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=options.lr, betas=BETAS, fused=True)
    made, its = fabric.setup(torch.compile(network) if options.compile else network, optimiser)
    return made, its


def _grid(columns: list[Tensor]) -> Picture:
    """Pictures float [B, 1 or 3, H, W] in [-1, 1] side by side, one of the batch a row, half size."""
    import cv2
    import numpy as np

    strips = []
    for column in columns:
        values = column.expand(-1, 3, -1, -1).float().cpu().permute(0, 2, 3, 1).numpy()
        strips.append(np.clip(values * 127.5 + 128, 0, 255).astype(np.uint8))
    whole = np.concatenate([np.concatenate(list(strip), axis=0) for strip in strips], axis=1)
    height, width = whole.shape[:2]
    return np.asarray(cv2.resize(whole, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)
