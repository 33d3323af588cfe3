"""The norm of every network: batch norm that can use the statistics of each single photo."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

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
            weight, bias = self.weight, self.bias
            if x.is_cuda and len(x) > 1:
                return photo_norm(x, weight, bias, self.eps)
            # torch's own kernel, fast both ways; its instance norm would leave the channels-last format.
            photos = [F.batch_norm(photo, None, None, weight, bias, True, eps=self.eps) for photo in torch.split(x, 1)]
            return torch.cat(photos) if len(photos) > 1 else photos[0]
        # One operation in an exported graph, which every runtime has a kernel for.
        values, scale, shift = (cast(tensor, torch.float32) for tensor in (x, self.weight, self.bias))
        return cast(F.instance_norm(values, None, None, scale, shift, True, 0.0, self.eps), x.dtype)


def photo_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalises each photo of a batch by itself, with a handful of kernels for all of them.

    A GPU waits for kernels to be launched, and torch's own takes one photo at a time.

    Args:
        x: [B, C, H, W], in any format of memory, which is kept.
        weight: float32 [C].
        bias: float32 [C].
        eps: added to the variance.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _PhotoNorm.apply(x, weight, bias, eps)  # type: ignore[no-any-return, no-untyped-call]


class _PhotoNorm(torch.autograd.Function):
    """`photo_norm`: what is not B x C small is read and written in the precision of x, and computed in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
        deviation = (variance + eps).rsqrt()
        scale = weight[:, None, None] * deviation
        ctx.save_for_backward(x, mean, deviation, weight)
        return torch.addcmul(bias[:, None, None] - mean * scale, x, scale, out=torch.empty_like(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, deviation, weight = ctx.saved_tensors
        (slope,) = gradients
        normed = torch.addcmul(-mean * deviation, x, deviation)
        both = (normed * slope).sum((2, 3), keepdim=True)
        alone = slope.sum((2, 3), keepdim=True, dtype=torch.float32)
        scale, pixels = weight[:, None, None] * deviation, x[0, 0].numel()
        # scale * (slope - mean(slope) - normed * mean(slope * normed))
        rest = normed.mul_(both / -pixels).sub_(alone / pixels)
        found = torch.mul(rest.add_(slope), scale, out=torch.empty_like(x))
        return found, both.sum((0, 2, 3)), alone.sum((0, 2, 3)), None


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
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
