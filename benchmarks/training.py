"""Steps a second of `apdraw train` against a plain PyTorch loop of the same networks, in one run.

    python -m benchmarks.training DATASET [--width 64] [--steps 2] [--rounds 5] [--bf16] [--compile]

The plain loop is what one would write first: FP32, eager, torch's own layers, default memory format and optimiser
settings, and pairs read between the steps. Both see the same pairs and losses (pre-training: L_adv, L_1, L_local).
Rounds alternate, each loop in a process of its own, and the medians are compared. Run it on a machine that does
nothing else.
"""

import argparse
import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.data import DataLoader

from train.build import make_discriminators, make_generator
from train.data.pairs import Augmentation, Pair, PortraitPairs
from train.devices import make_fabric
from train.losses import discriminator_loss, generator_adversarial_loss, local_losses, pixel_loss
from train.networks import Regions
from train.networks.fast_layers import Dropout, OneChannelConv, OneChannelUp
from train.options import TrainOptions, resolve
from train.sampler import ResumableBatchSampler
from train.stages import AdversarialStage

LONG = 100_000
Network = TypeVar("Network", bound=torch.nn.Module)


def plain(network: Network) -> Network:
    """The network out of torch's own layers."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, torch.nn.Dropout(child.p))
            elif isinstance(child, OneChannelConv):
                mode = child.padding_mode
                plain_conv = torch.nn.Conv2d(
                    child.in_channels, 1, child.kernel_size, 1, child.margin, padding_mode=mode
                )
                setattr(module, name, plain_conv)
            elif isinstance(child, OneChannelUp):
                setattr(module, name, torch.nn.ConvTranspose2d(child.in_channels, 1, 4, 2, 1))
    return network


def plain_loop(pairs: PortraitPairs, options: TrainOptions) -> Iterator[None]:
    """A step at each turn."""
    generator, discriminators = plain(make_generator(options)), plain(make_discriminators(options))
    of_generator = torch.optim.Adam(generator.parameters(), lr=options.lr, betas=(0.5, 0.999))
    of_discriminators = torch.optim.Adam(discriminators.parameters(), lr=options.lr, betas=(0.5, 0.999))
    for pair in DataLoader(pairs, batch_sampler=ResumableBatchSampler(len(pairs), options.batch_size, 0, 0, LONG)):
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
    order = ResumableBatchSampler(len(pairs), options.batch_size, 0, 0, LONG)
    loader = DataLoader(pairs, batch_sampler=order, num_workers=options.workers)
    for pair in fabric.setup_dataloaders(loader, use_distributed_sampler=False):
        stage.step(Pair(*pair))
        yield


def serve(pipe: Connection, dataset: Path, plain: bool, options: TrainOptions) -> None:
    """Runs a loop: for each number received that many steps, and tells how many seconds they took."""
    pairs = PortraitPairs(dataset, "train", Augmentation.paper())
    loop = (plain_loop if plain else apdraw_loop)(pairs, options)
    while steps := pipe.recv():
        start = time.perf_counter()
        for _ in range(steps):
            next(loop)
        pipe.send(time.perf_counter() - start)


def main() -> None:
    """Measures as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bf16", action="store_true", help="measure that, too")
    parser.add_argument("--compile", action="store_true", help="the same of compiled networks")
    given = parser.parse_args()
    common = {"stage": "pretrain", "device": "cpu", "width": given.width, "discriminator_width": given.width}
    loops = {"plain fp32": (True, resolve(common)), "apdraw fp32": (False, resolve(common))}
    if given.bf16:
        loops["apdraw bf16"] = (False, resolve(common | {"precision": "bf16"}))
    if given.compile:
        for name in list(loops)[1:]:
            loops[name + " compiled"] = (False, dataclasses.replace(loops[name][1], compile=True))
    spawn = multiprocessing.get_context("spawn")
    pipes = {}
    for name, (plain, options) in loops.items():
        pipes[name], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(theirs, given.dataset, plain, options)).start()
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for round_ in range(given.rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(given.steps)
            taken = pipe.recv()
            if round_:  # the first steps choose kernels and take memory
                seconds[name].append(taken / given.steps)
    for pipe in pipes.values():
        pipe.send(0)
    baseline = statistics.median(seconds["plain fp32"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:20} {middle:.3f} s a step ({spread}), {baseline / middle:.2f} x plain", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
