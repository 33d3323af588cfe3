"""The hierarchical discriminator D: one for the whole drawing and six for its local regions (sec. 4.2)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from train.networks.blocks import Norm, OneChannelConv, initialise
from train.networks.regions import LocalParts, Regions


class Verdicts(NamedTuple):
    """What the seven discriminators say, as logits for each 70 x 70 patch: over 0 for an artist's drawing."""

    whole: Tensor  # [B, 1, 62, 62]
    parts: LocalParts | None  # [B, 1, h / 8 - 2, w / 8 - 2] each; None without local discriminators


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

    def forward(self, photo: Tensor, drawing: Tensor, regions: Regions) -> Verdicts:
        """Judges drawings of photos.

        Args:
            photo: float [B, 3, 512, 512] in [-1, 1], RGB.
            drawing: float [B, 1, 512, 512] in [-1, 1], an artist's or a generated one.
            regions: of these portraits.
        """
        pair = torch.cat((photo, drawing), dim=1)
        if not self.parts:
            return Verdicts(self.whole(pair), None)
        parts = regions.parts(pair)._asdict()
        verdicts = LocalParts(**{name: self.parts[name](part) for name, part in parts.items()})
        return Verdicts(self.whole(pair), verdicts)


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
        self.last = OneChannelConv(widths[-1], 4, padding=1)

    def forward(self, pair: Tensor) -> Tensor:
        """Judges [B, 4, H, W] in [-1, 1] (photo RGB, drawing): logits [B, 1, H / 8 - 2, W / 8 - 2]."""
        x = F.leaky_relu(self.first(pair), 0.2, inplace=True)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2, inplace=True)
        return self.last(x)  # type: ignore[no-any-return]
