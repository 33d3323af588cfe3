"""The norm of every network: batch norm that can use the statistics of each single photo."""

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from train.networks.config import NormStatistics


class Norm(nn.BatchNorm2d):
    """Batch norm that can use the statistics of each single photo.

    With `running`: the batch's statistics in training, which also update the running ones, and those in evaluation.
    With `photo`: in both, those of each photo over its own height and width (biased variance, computed in float32),
    so that a drawing does not depend on what else is in the batch. For the paper's batches of one photo, training
    is the same with either.

    Args:
        channels: C of its input and output [B, C, H, W].
        statistics: whose mean and variance are used: `photo` or `running`.

    Attributes:
        frozen: whether `running` uses the averages in training too, and leaves them as they are.
    """

    def __init__(self, channels: int, statistics: NormStatistics) -> None:
        super().__init__(channels)
        self.statistics = statistics
        self.frozen = False

    def train(self, mode: bool = True) -> Self:
        """Switches between training and evaluation, in which a frozen norm always is."""
        return super().train(mode and not self.frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [B, C, H, W], keeping its dtype."""
        if self.statistics == "running":
            return super().forward(x)
        if self.training:
            # torch's own kernel, fast both ways; its instance norm would leave the channels-last format.
            weight, bias = self.weight, self.bias
            photos = [F.batch_norm(photo, None, None, weight, bias, True, eps=self.eps) for photo in torch.split(x, 1)]
            return torch.cat(photos) if len(photos) > 1 else photos[0]
        # One operation in an exported graph, which every runtime has a kernel for.
        values, scale, shift = (_cast(tensor, torch.float32) for tensor in (x, self.weight, self.bias))
        return _cast(F.instance_norm(values, None, None, scale, shift, True, 0.0, self.eps), x.dtype)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """As `x.to(dtype)`, but nothing where it is: such casts would be a quarter of what an export traces."""
    return x if x.dtype == dtype else x.to(dtype)


@torch.no_grad()
def measure_norms(generator: nn.Module, portraits: Iterable[Sequence[Tensor]]) -> None:
    """Sets the averages of norms with running statistics to those of a generator as it is on some portraits.

    Norms that have averages already, of an earlier training, keep them.

    Args:
        generator: the generator, in training mode.
        portraits: photo, landmarks and mask of each, as the generator takes them but without a batch dimension.
    """
    running = [module for module in generator.modules() if isinstance(module, Norm) and module.statistics == "running"]
    norms = [norm for norm in running if not norm.num_batches_tracked]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # the plain mean of all
    device = next(generator.parameters()).device
    for inputs in portraits:
        generator(*(tensor[None].to(device) for tensor in inputs))
    for norm in norms:
        norm.momentum = 0.1


def freeze_norms(generator: nn.Module) -> None:
    """Makes norms with running statistics keep their averages, and normalise by them in training too."""
    for module in generator.modules():
        if isinstance(module, Norm) and module.statistics == "running":
            module.frozen = True
            module.eval()
