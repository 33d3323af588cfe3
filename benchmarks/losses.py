"""What each loss term costs: seconds forth and back to the generator's drawing, in one run.

    python -m benchmarks.losses DATASET [--width 64] [--rounds 7]

Each term is computed from the drawing and the local drawings of one portrait, as in a training step, and its gradient
taken with respect to those; the generator's own forward and backward pass is given for comparison. Terms alternate;
medians are told.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import default_collate

from train.build import make_discriminators, make_generator
from train.data.pairs import PortraitPairs
from train.losses import (
    discriminator_loss,
    distance_transform_loss,
    generator_adversarial_loss,
    local_losses,
    pixel_loss,
)
from train.networks import LineDetectors, LocalParts, Regions
from train.options import resolve


def main() -> None:
    """Measures as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    options = resolve({"stage": "pretrain", "width": given.width, "discriminator_width": given.width})
    pair = default_collate([PortraitPairs(given.dataset, "train")[0]])
    generator = make_generator(options).to(memory_format=torch.channels_last)
    discriminators = make_discriminators(options).to(memory_format=torch.channels_last)
    detectors = LineDetectors(options.detector_width).requires_grad_(False).eval()
    photo = pair.photo.contiguous(memory_format=torch.channels_last)
    regions = Regions.of(pair.landmarks, pair.mask)
    with torch.no_grad():
        output = generator(photo, pair.landmarks, pair.mask)
    drawing = output.drawing.detach().requires_grad_()
    parts = LocalParts(*(part.detach().requires_grad_() for part in output.parts))

    def judged() -> Tensor:
        discriminators.requires_grad_(False)
        return generator_adversarial_loss(discriminators(photo, drawing, regions))

    def judging() -> Tensor:
        discriminators.requires_grad_(True)
        real = discriminators(photo, pair.drawing, regions)
        return discriminator_loss(real, discriminators(photo, drawing.detach(), regions))

    terms: dict[str, Callable[[], Tensor]] = {
        "generator": lambda: generator(photo, pair.landmarks, pair.mask).drawing.mean(),
        "L_adv of the discriminators": judging,
        "L_adv of the generator": judged,
        "L_1": lambda: pixel_loss(drawing, pair.drawing),
        "L_local": lambda: torch.stack(tuple(local_losses(parts, pair.drawing, regions))).sum(),
        "L_DT": lambda: distance_transform_loss(drawing, pair.drawing, detectors),
    }
    seconds: dict[str, list[float]] = {name: [] for name in terms}
    for round_ in range(given.rounds + 1):
        for name, term in terms.items():
            start = time.perf_counter()
            term().backward()
            if round_:  # the first chooses kernels
                seconds[name].append(time.perf_counter() - start)
    middles = {name: statistics.median(values) for name, values in seconds.items()}
    whole = sum(middles.values())
    for name, middle in middles.items():
        spread = f"{min(seconds[name]):.3f} to {max(seconds[name]):.3f}"
        print(f"{name:28} {middle:.3f} s ({spread}), {middle / whole:.1%} of the sum")  # noqa: T201


if __name__ == "__main__":
    main()
