"""What a run will cost: counts the operations of one step of its stage, on tensors with shapes but without values."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from engines.portrait import SIZE
from train.build import make_detectors
from train.data.crops import BOXES, Crop
from train.data.line_pairs import LinePair
from train.data.pairs import Pair
from train.options import TrainOptions
from train.stages import make_stage


@dataclass(frozen=True)
class RunCost:
    """The cost of a run on each device.

    Attributes:
        weights: number of trained weights by network.
        gflop_per_step: billions of operations in a step's convolutions and products, forward and backward; a
            multiplication and an addition count as two.
        memory_bytes: about how much weights, gradients, Adam's moments and kept activations take.
    """

    weights: dict[str, int]
    gflop_per_step: float
    memory_bytes: int


def estimate_cost(options: TrainOptions) -> RunCost:
    """Counts one step without computing anything. The distance maps of L_DT are not counted, its line detectors are."""
    kept = _KeptMemory()
    with torch.device("meta"):
        detectors = make_detectors(options) if options.distance_weight else None
        stage = make_stage(_Nowhere(), options, detectors)
        batch = _empty_batch(options)
        with FlopCounterMode(display=False) as counter, saved_tensors_hooks(kept.pack, lambda tensor: tensor):
            stage.step(batch)
    weights = {
        name: sum(weight.numel() for group in optimiser.param_groups for weight in group["params"])
        for name, optimiser in stage.optimisers.items()
    }
    # Weights, gradients and Adam's two moments in float32; a moving average is one more copy of the generator.
    memory = 16 * sum(weights.values()) + (4 * weights.get("generator", 0) if options.ema_decay else 0)
    activations = kept.size if options.precision == "fp32" else kept.size // 2
    return RunCost(weights, round(counter.get_total_flops() / 1e9, 1), memory + activations)


def _empty_batch(options: TrainOptions) -> Any:
    """A batch of the stage's pairs, without values."""

    def picture(channels: int, height: int = SIZE, width: int = SIZE) -> Tensor:
        return torch.empty(options.batch_size, channels, height, width)

    if options.stage == "auxiliary":
        return LinePair(picture(1), picture(1), picture(1))
    if options.stage == "local":
        sizes = {box.name: (box.height, box.width) for box in BOXES}
        sizes |= {"hair": (SIZE, SIZE), "background": (SIZE, SIZE)}
        return {
            region: Crop(picture(3, *sizes[region]), picture(1, *sizes[region]), picture(1, *sizes[region]))
            for region in options.local_regions()
        }
    return Pair(picture(3), picture(1), torch.empty(options.batch_size, 5, 2), picture(1))


class _Nowhere:
    """What a stage needs of Fabric, for a device without memory."""

    device = torch.device("meta")

    def setup(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        optimiser.step = lambda closure=None: None  # type: ignore[method-assign, assignment]  # nothing to learn from
        return network, optimiser

    def autocast(self) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]


class _KeptMemory:
    """Adds up the memory that is kept for the way back, each piece once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.size = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # A tensor without values has no address: only the storage itself tells two views of one from two tensors.
        if not isinstance(tensor, nn.Parameter) and storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self.size += storage.nbytes()
        return tensor
