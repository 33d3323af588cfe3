"""The U-Net that draws: the global network with 8 levels, the local ones with 3 or 4 (sec. 4.1)."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from train.networks.config import NormStatistics
from train.networks.fast_layers import Dropout, OneChannelUp
from train.networks.norm import Norm


class UNet(nn.Module):
    """An encoder and a decoder whose levels of the same size are joined by concatenation.

    Level i halves height and width to `widths[i]` channels, and its decoder doubles them again.

    Args:
        widths: channels of each level, outermost first.
        dropout_levels: the levels whose decoder drops half of its values while training.
        statistics: whose mean and variance the norms use in evaluation.
    """

    def __init__(self, widths: Sequence[int], dropout_levels: Collection[int], statistics: NormStatistics) -> None:
        super().__init__()
        innermost = len(widths) - 1
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, width in enumerate(widths):
            outer = widths[level - 1] if level else 3
            down_norm = None if level in (0, innermost) else Norm(width, statistics)
            self.down.append(_Down(outer, width, down_norm, activate=level > 0))
            inputs = width if level == innermost else 2 * width  # beside the skip
            if level == 0:
                self.up.append(_Up(inputs, 1, None))
            else:
                self.up.append(_Up(inputs, outer, Norm(outer, statistics), dropout=level in dropout_levels))

    def forward(self, photo: Tensor) -> Tensor:
        """Draws a photo or a part of one.

        Args:
            photo: float [B, 3, H, W] in [-1, 1], RGB; H and W multiples of 2 ** levels.

        Returns:
            float [B, 1, H, W] in [-1, 1], 1 white.
        """
        skips = []
        x = photo
        for down in self.down:
            x = down(x)  # [B, widths[level], H / 2 ** (level + 1), ...]
            skips.append(x)
        x = self.up[-1](F.relu(skips.pop()))
        for up in reversed(self.up[:-1]):
            x = up(torch.cat((F.relu(skips.pop()), x), dim=1))
        return torch.tanh(x)


def global_unet(width: int, statistics: NormStatistics) -> UNet:
    """The global network: 8 levels; dropout on the three between the innermost and the 4 to 8 widths one."""
    return UNet([width * k for k in (1, 2, 4, 8, 8, 8, 8, 8)], (4, 5, 6), statistics)


def feature_unet(width: int, statistics: NormStatistics) -> UNet:
    """The network of an eye, the nose or the mouth: 3 levels, no dropout."""
    return UNet([width * k for k in (1, 2, 4)], (), statistics)


def region_unet(width: int, statistics: NormStatistics) -> UNet:
    """The network of the hair or the background: 4 levels, dropout next to the innermost."""
    return UNet([width * k for k in (1, 2, 2, 2)], (2,), statistics)


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: Norm | None, *, activate: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.norm = norm
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        # In place: where x is also a skip, the decoder's ReLU makes the same of it.
        x = self.conv(F.leaky_relu(x, 0.2, inplace=True) if self.activate else x)
        return x if self.norm is None else self.norm(x)


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: Norm | None, *, dropout: bool = False) -> None:
        super().__init__()
        if norm is None:
            self.conv: nn.Module = OneChannelUp(inputs)  # nn.ConvTranspose2d(inputs, 1, 4, 2, padding=1), faster
        else:
            self.conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, padding=1, bias=False)
        self.norm = norm
        self.dropout = Dropout() if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is None:
            return x
        x = self.norm(x)
        # The next level's ReLU: before the concatenation it can be part of the norm.
        return F.relu(x if self.dropout is None else self.dropout(x), inplace=True)
