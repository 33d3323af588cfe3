"""Writes the gradients of one training step on several processes: python ddp_gradients.py DATASET OUT DEVICES BATCH."""

import sys
from pathlib import Path

import torch
from torch.utils.data import default_collate

from train.data.pairs import PortraitPairs
from train.devices import make_fabric
from train.networks import LineDetectors
from train.options import TrainOptions
from train.sampler import ResumableBatchSampler
from train.stages import AdversarialStage


def main(dataset: str, out: str, devices: int, batch_size: int) -> None:
    torch.set_num_threads(1)
    options = TrainOptions(
        width=2, discriminator_width=2, dropout=False, device="cpu", devices=devices, batch_size=batch_size
    )
    fabric = make_fabric(options)
    torch.manual_seed(0)
    stage = AdversarialStage(fabric, options, LineDetectors(2))
    for optimiser in stage.optimisers.values():
        optimiser.param_groups[0]["lr"] = 0.0  # the generator then meets the same discriminators everywhere
    pairs = PortraitPairs(Path(dataset), "train")
    order = ResumableBatchSampler(len(pairs), batch_size, 0, 0, 1, fabric.global_rank, fabric.world_size)
    stage.step(default_collate([pairs[key] for key in next(iter(order))]))
    if fabric.is_global_zero:
        networks = ("generator", "discriminators")
        torch.save(
            {f"{name}.{key}": p.grad for name in networks for key, p in stage.networks[name].named_parameters()}, out
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    assert "torchmetrics" not in sys.modules  # it takes seconds to load, and training does not use it
