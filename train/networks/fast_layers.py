"""Layers of torch computed faster: the same values, or for dropout the same distribution.

The networks use them in place of `nn.Dropout(0.5)`, `nn.Conv2d(channels, 1, ...)` and
`nn.ConvTranspose2d(channels, 1, 4, stride=2, padding=1)`.
"""

from abc import abstractmethod
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

BLOCK: Final = 4
"""Height and width of the blocks of pixels that are computed together."""


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


class OneChannel(nn.Module):
    """A convolution with one output channel, computed as one with a channel for each pixel of a block."""

    _settled: Tensor | None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("_settled", None, persistent=False)

    @torch.no_grad()
    def settle(self) -> None:
        """Computes the blocks' weights once and for all, which is otherwise done for each batch: for inference only."""
        self._settled = self._block_weights()

    def block_weights(self) -> Tensor:
        """The weights of the convolution that is computed, [16, C, kernel of blocks, kernel of blocks]."""
        return self._block_weights() if self._settled is None else self._settled

    @abstractmethod
    def _block_weights(self) -> Tensor: ...


class OneChannelConv(OneChannel, nn.Conv2d):
    """A convolution with one output channel.

    It is computed as one of 16 channels, the pixels of a block of 4 x 4: kernels compute 16 channels at a time anyway,
    and would throw 15 away.

    Args:
        channels: C of its input [B, C, H, W].
        kernel: height and width of its kernel.
        padding: pixels added on each side.
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
        blocks = F.pixel_shuffle(F.conv2d(x, self.block_weights(), stride=BLOCK), BLOCK)
        return blocks[..., :height, :width] + self.bias  # type: ignore[operator]

    def _block_weights(self) -> Tensor:
        wide = F.pad(self.weight, (BLOCK - 1,) * 4)
        starts, length = range(BLOCK - 1, -1, -1), self.kernel_size[0] + BLOCK - 1
        return torch.cat([wide[..., y : y + length, x : x + length] for y in starts for x in starts])


class OneChannelUp(OneChannel, nn.ConvTranspose2d):
    """A transposed convolution of kernel 4 and stride 2 with one output channel, computed as `OneChannelConv` is.

    Args:
        channels: C of its input [B, C, H, W]; H and W even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, 4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolves [B, C, H, W] to [B, 1, 2 H, 2 W]; `output_size` is not asked for."""
        blocks = F.conv2d(x, self.block_weights(), stride=BLOCK // 2, padding=1)
        return F.pixel_shuffle(blocks, BLOCK) + self.bias  # type: ignore[operator]

    def _block_weights(self) -> Tensor:
        # A transposed weight would get a gradient of other strides, of which DDP warns.
        wide = F.pad(self.weight.view(1, -1, 4, 4), (BLOCK - 1,) * 4)  # [1, C, 10, 10]
        weight = torch.cat([wide[..., y : y + 7 : 2, x : x + 7 : 2] for y in range(BLOCK) for x in range(BLOCK)])
        return weight.flip(2, 3)
