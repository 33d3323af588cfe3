"""What a run will cost: floating-point operations a step, weights and memory, counted without computing anything."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from engines.portrait import SIZE
from train.losses import discriminator_loss, generator_adversarial_loss, local_losses, pixel_loss
from train.networks import Regions
from train.options import TrainOptions
from train.stages import make_detectors, make_discriminators, make_generator


@dataclass(frozen=True)
class Work:
    """The cost of a run on each device.

    Attributes:
        weights: that are trained, by network.
        gflop_per_step: of convolutions and products, forth and back; a multiplication and an addition are two.
        memory_bytes: about what weights, gradients, Adam's moments and kept activations take.
    """

    weights: dict[str, int]
    gflop_per_step: float
    memory_bytes: int


def estimate(options: TrainOptions) -> Work:
    """Counts the work of one step. L_DT's distance maps are not counted; its line detectors are."""
    with torch.device("meta"):
        detectors = make_detectors(options)
        if options.stage == "auxiliary":
            networks: dict[str, nn.Module] = {"detectors": detectors}
        else:
            generator, discriminators = make_generator(options), make_discriminators(options)
            networks = {"generator": generator, "discriminators": discriminators}
        drawing = torch.empty(options.batch_size, 1, SIZE, SIZE)
        photo = torch.empty(options.batch_size, 3, SIZE, SIZE)
        mask, landmarks = torch.empty_like(drawing), torch.empty(options.batch_size, 5, 2)

    kept = _Kept()
    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        if options.stage == "auxiliary":
            sum(logits.sum() for logits in detectors(drawing)).backward()
        else:
            regions = Regions.of(landmarks, mask)
            output = generator(photo, landmarks, mask)
            real = discriminators(photo, drawing, regions)
            fake = discriminators(photo, output.drawing.detach(), regions)
            discriminator_loss(real, fake).backward()  # type: ignore[no-untyped-call]
            discriminators.requires_grad_(False)
            loss = generator_adversarial_loss(discriminators(photo, output.drawing, regions))
            loss = loss + pixel_loss(output.drawing, drawing)
            if output.parts is not None:
                loss = loss + torch.stack(tuple(local_losses(output.parts, drawing, regions))).sum()
            if options.distance_weight:
                detectors.requires_grad_(False)
                detectors(drawing)
                loss = loss + sum(logits.sum() for logits in detectors(output.drawing))
            loss.backward()  # type: ignore[no-untyped-call]
    weights = {name: sum(value.numel() for value in network.parameters()) for name, network in networks.items()}
    # Weights, gradients and Adam's two moments in float32; a running mean is one more copy of the generator.
    memory = 16 * sum(weights.values()) + (4 * weights["generator"] if options.mean_decay else 0)
    activations = kept.size if options.precision == "fp32" else kept.size // 2
    return Work(weights, round(counter.get_total_flops() / 1e9, 1), memory + activations)


class _Kept:
    """Adds up the memory that is kept for the way back, each piece once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.size = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter) and storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self.size += storage.nbytes()
        return tensor
