"""The fusion network: the global drawing and the local ones become the final drawing (sec. 4.1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from train.networks.config import NormStatistics
from train.networks.fast_layers import Dropout, OneChannelConv
from train.networks.norm import Norm


class Fusion(nn.Module):
    """Two residual blocks between two 7 x 7 convolutions, at full resolution.

    Args:
        width: channels in between.
        statistics: whose mean and variance the norms use in evaluation.
    """

    def __init__(self, width: int, statistics: NormStatistics) -> None:
        super().__init__()
        self.first = _reflecting_conv(2, width, 7)
        self.norm = Norm(width, statistics)
        self.blocks = nn.Sequential(_Residual(width, statistics), _Residual(width, statistics))
        self.last = OneChannelConv(width, 7, padding=3, padding_mode="reflect")  # nn.Conv2d(width, 1, 7, ...), faster

    def forward(self, global_drawing: Tensor, local_drawing: Tensor) -> Tensor:
        """Fuses I_global and I_local, each float [B, 1, H, W] in [-1, 1], to a drawing of the same kind."""
        x = torch.cat((global_drawing, local_drawing), dim=1)
        x = F.relu(self.norm(self.first(x)), inplace=True)
        return torch.tanh(self.last(self.blocks(x)))


class _Residual(nn.Module):
    def __init__(self, width: int, statistics: NormStatistics) -> None:
        super().__init__()
        self.first = _reflecting_conv(width, width, 3)
        self.first_norm = Norm(width, statistics)
        self.second = _reflecting_conv(width, width, 3)
        self.second_norm = Norm(width, statistics)
        self.dropout = Dropout()

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(x)), inplace=True)
        return x + self.second_norm(self.second(self.dropout(inner)))  # type: ignore[no-any-return]


def _reflecting_conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect", bias=False)
