"""The hierarchical discriminator D: one for the whole drawing and six for its local regions (sec. 4.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from train.networks.fast_layers import OneChannelConv
from train.networks.initialise import initialise
from train.networks.norm import Norm
from train.networks.regions import LocalParts, Regions


class Discriminators(nn.Module):
    """The seven discriminators of the paper.

    Args:
        width: channels of their first convolution; 64 in the paper.
        local_networks: whether there are the six local ones; without them it is Pix2Pix's.
    """

    def __init__(self, width: int = 64, *, local_networks: bool = True) -> None:
        super().__init__()
        self.whole = PatchDiscriminator(width)
        names = LocalParts._fields if local_networks else ()
        self.parts = nn.ModuleDict({name: PatchDiscriminator(width) for name in names})
        initialise(self)

    def forward(self, photo: Tensor, drawing: Tensor, regions: Regions) -> dict[str, Tensor]:
        """Tells an artist's drawings of photos from generated ones.

        Args:
            photo: float [B, 3, 512, 512] in [-1, 1], RGB.
            drawing: float [B, 1, 512, 512] in [-1, 1], an artist's or a generated one.
            regions: regions of these portraits.

        Returns:
            Logits for each 70 x 70 patch, over 0 for an artist's: `whole` [B, 1, 62, 62], and by the names of
            `LocalParts` [B, 1, h / 8 - 2, w / 8 - 2] where there are local discriminators.
        """
        # In the order that convolutions want; else each of them would make a copy, and another for its gradient.
        pair = torch.cat((photo, drawing), dim=1).contiguous(memory_format=torch.channels_last)
        logits = {"whole": self.whole(pair)}
        if self.parts:
            logits |= {name: self.parts[name](part) for name, part in regions.parts(pair)._asdict().items()}
        return logits


class PatchDiscriminator(nn.Module):
    """The 70 x 70 Markovian discriminator of Pix2Pix, without its final sigmoid: the loss applies it.

    Args:
        width: channels of its first convolution.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * k for k in (1, 2, 4, 8)]
        self.first = nn.Conv2d(4, width, 4, stride=2, padding=1)
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for inputs, outputs, stride in zip(widths[:-1], widths[1:], (2, 2, 1), strict=True):
            self.convs.append(nn.Conv2d(inputs, outputs, 4, stride, padding=1, bias=False))
            self.norms.append(Norm(outputs, "photo"))
        self.last = OneChannelConv(widths[-1], 4, padding=1)  # nn.Conv2d(widths[-1], 1, 4, padding=1), faster

    def forward(self, pair: Tensor) -> Tensor:
        """From [B, 4, H, W] in [-1, 1] (photo RGB, drawing) to logits [B, 1, H / 8 - 2, W / 8 - 2]."""
        x = F.leaky_relu(self.first(pair), 0.2, inplace=True)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2, inplace=True)
        return self.last(x)  # type: ignore[no-any-return]
