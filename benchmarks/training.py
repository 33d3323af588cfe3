"""Steps a second of `apdraw train` against a plain PyTorch loop of the same networks, in one run.

    python -m benchmarks.training DATASET [--width 64] [--steps 6] [--rounds 5]

The plain loop is what one would write first: FP32, eager, torch's default memory format and optimiser settings, and
pairs read between the steps. Both see the same pairs and losses (pre-training: L_adv, L_1, L_local). Rounds alternate,
and the medians of the rounds are compared. Run it on a machine that does nothing else.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from train.dataset import Augmentation, Pair, PortraitPairs
from train.loop import make_fabric
from train.losses import discriminator_loss, generator_adversarial_loss, local_losses, pixel_loss
from train.networks import Regions
from train.options import TrainOptions, resolve
from train.order import PairOrder
from train.stages import AdversarialStage, make_discriminators, make_generator

LONG = 100_000


def plain_loop(pairs: PortraitPairs, options: TrainOptions) -> Iterator[None]:
    """A step at each turn."""
    generator, discriminators = make_generator(options), make_discriminators(options)
    of_generator = torch.optim.Adam(generator.parameters(), lr=options.lr, betas=(0.5, 0.999))
    of_discriminators = torch.optim.Adam(discriminators.parameters(), lr=options.lr, betas=(0.5, 0.999))
    for pair in DataLoader(pairs, batch_sampler=PairOrder(len(pairs), options.batch_size, 0, 0, LONG)):
        regions = Regions.of(pair.landmarks, pair.mask)
        output = generator(pair.photo, pair.landmarks, pair.mask)
        real = discriminators(pair.photo, pair.drawing, regions)
        fake = discriminators(pair.photo, output.drawing.detach(), regions)
        of_discriminators.zero_grad()
        discriminator_loss(real, fake).backward()
        of_discriminators.step()
        for parameter in discriminators.parameters():
            parameter.requires_grad = False
        loss = generator_adversarial_loss(discriminators(pair.photo, output.drawing, regions))
        loss = loss + 100 * pixel_loss(output.drawing, pair.drawing)
        loss = loss + 25 * sum(local_losses(output.parts, pair.drawing, regions))
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()
        for parameter in discriminators.parameters():
            parameter.requires_grad = True
        yield


def apdraw_loop(pairs: PortraitPairs, options: TrainOptions) -> Iterator[None]:
    """The same through `train.stages`, as `train.loop` calls it."""
    fabric = make_fabric(options)
    stage = AdversarialStage(fabric, options)
    order = PairOrder(len(pairs), options.batch_size, 0, 0, LONG)
    loader = DataLoader(pairs, batch_sampler=order, num_workers=options.workers)
    for pair in fabric.setup_dataloaders(loader, use_distributed_sampler=False):
        stage.step(Pair(*pair))
        yield


def main() -> None:
    """Measures as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    pairs = PortraitPairs(given.dataset, "train", Augmentation.paper())
    common = {"stage": "pretrain", "device": "cpu", "width": given.width, "discriminator_width": given.width}
    loops: dict[str, Callable[[], Iterator[None]]] = {
        "plain fp32": lambda: plain_loop(pairs, resolve(common)),
        "apdraw fp32": lambda: apdraw_loop(pairs, resolve(common)),
        "apdraw bf16": lambda: apdraw_loop(pairs, resolve(common | {"precision": "bf16"})),
    }
    if given.compile:
        loops["apdraw bf16 compiled"] = lambda: apdraw_loop(
            pairs, resolve(common | {"precision": "bf16", "compile": True})
        )
    running = {name: make() for name, make in loops.items()}
    for loop in running.values():
        next(loop), next(loop)  # the first steps choose kernels
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(given.rounds):
        for name, loop in running.items():
            start = time.perf_counter()
            for _ in range(given.steps):
                next(loop)
            seconds[name].append((time.perf_counter() - start) / given.steps)
    baseline = statistics.median(seconds["plain fp32"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:22} {middle:.3f} s a step ({spread}), {baseline / middle:.2f} x plain")  # noqa: T201


if __name__ == "__main__":
    main()
