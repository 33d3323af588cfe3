"""What every network is made of: the norm with a choice of statistics, dropout, and the initialisation."""

from typing import Final, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from train.networks.config import NormStatistics

BLOCK: Final = 4
"""Height and width of the blocks of pixels that are computed together."""


class Norm(nn.BatchNorm2d):
    """Batch norm that can use the statistics of each single photo.

    With `running`: the batch's statistics in training, which also update the running ones, and those in evaluation.
    With `photo`: in both, those of each photo over its own height and width (biased variance, computed in float32),
    so that a drawing does not depend on what else is in the batch. For the paper's batches of one photo, training
    is the same with either.

    Args:
        channels: C of its input and output [B, C, H, W].
        statistics: what is normalised by.

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
        values = F.instance_norm(x.float(), None, None, self.weight.float(), self.bias.float(), True, 0.0, self.eps)
        return values.to(x.dtype)


class Dropout(nn.Dropout):
    """Drops half of the values while training, and doubles the others.

    On a CPU it takes one random bit for a value, where torch draws a whole number for each.
    """

    def __init__(self) -> None:
        super().__init__(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Thins out a tensor of any shape, keeping its dtype."""
        if x.device.type != "cpu" or not self.training or self.p != 0.5:
            return super().forward(x)
        eights = torch.randint(256, (-(-x.numel() // 8),), dtype=torch.int32)
        bits = torch.arange(256)[:, None] >> torch.arange(8) & 1  # [256, 8]
        kept = F.embedding(eights, 2 * bits.to(x.dtype)).view(-1)
        return x * kept.as_strided(x.shape, torch.empty_like(x).stride())  # in the order of x in memory


class OneChannelConv(nn.Conv2d):
    """A convolution with one output channel.

    It is computed as one of 16 channels, the pixels of a block of 4 x 4: kernels compute 16 channels at a time anyway,
    and would throw 15 away.

    Args:
        channels: C of its input [B, C, H, W].
        kernel: height and width of its kernel.
        padding: on each side.
        padding_mode: `zeros` or `reflect`.
    """

    def __init__(
        self, channels: int, kernel: int, padding: int, padding_mode: Literal["zeros", "reflect"] = "zeros"
    ) -> None:
        super().__init__(channels, 1, kernel, padding=padding, padding_mode=padding_mode)
        self.margin = padding

    def forward(self, x: Tensor) -> Tensor:
        """Convolves [B, C, H, W] to [B, 1, H', W']."""
        kernel = self.kernel_size[0]
        height, width = (size + 2 * self.margin - kernel + 1 for size in x.shape[2:])
        x = F.pad(x, (self.margin,) * 4, mode="constant" if self.padding_mode == "zeros" else self.padding_mode)
        x = F.pad(x, (0, -width % BLOCK, 0, -height % BLOCK)) if width % BLOCK or height % BLOCK else x
        wide = F.pad(self.weight, (BLOCK - 1,) * 4)
        starts, length = range(BLOCK - 1, -1, -1), kernel + BLOCK - 1
        weight = torch.cat([wide[..., y : y + length, x : x + length] for y in starts for x in starts])
        blocks = F.pixel_shuffle(F.conv2d(x, weight, stride=BLOCK), BLOCK)
        return blocks[..., :height, :width] + self.bias  # type: ignore[operator]


class OneChannelUp(nn.ConvTranspose2d):
    """A transposed convolution of kernel 4 and stride 2 with one output channel, computed as `OneChannelConv` is.

    Args:
        channels: C of its input [B, C, H, W]; H and W even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, 4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolves [B, C, H, W] to [B, 1, 2 H, 2 W]; `output_size` is not asked for."""
        wide = F.pad(self.weight, (BLOCK - 1,) * 4).transpose(0, 1)  # [1, C, 10, 10]
        weight = torch.cat([wide[..., y : y + 7 : 2, x : x + 7 : 2] for y in range(BLOCK) for x in range(BLOCK)])
        blocks = F.conv2d(x, weight.flip(2, 3), stride=BLOCK // 2, padding=1)
        return F.pixel_shuffle(blocks, BLOCK) + self.bias  # type: ignore[operator]


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Sets fresh weights in place: convolutions N(0, 0.02), norms N(1, 0.02), biases 0."""
    if any(weight.is_meta for weight in network.parameters()):
        return  # there is nothing to set, and torch would load its compiler for it
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
