"""Theta_b and Theta_w, the two networks that find the black and the white lines of a drawing (sec. 5, eq. 4)."""

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class LineDetectors(nn.Module):
    """The line detectors of L_DT: `black` is Theta_b, `white` is Theta_w.

    They are trained by themselves (the auxiliary stage) and stay as they are while a generator learns:
    `detectors.eval().requires_grad_(False)`. Under 0.2 M weights together at the default width.

    Args:
        width: channels of their first convolution.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.black = LineDetector(width)
        self.white = LineDetector(width)

    def forward(self, drawing: Tensor) -> tuple[Tensor, Tensor]:
        """Finds the lines of drawings.

        Args:
            drawing: float [B, 1, H, W] in [-1, 1], 1 white; H and W multiples of 8.

        Returns:
            Logits [B, 1, H, W] of black and of white line pixels, over 0 where there is one.
        """
        return self.black(drawing), self.white(drawing)


class LineDetector(nn.Module):
    """A small U-Net that folds 2 x 2 pixels into channels first: a quarter of the work, and no pixel lost.

    Args:
        width: channels at half the resolution; two and four times as many at a quarter and an eighth.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down2 = nn.Conv2d(4, width, 3, padding=1)
        self.down4 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.same4 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.down8 = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        self.same8 = nn.Conv2d(4 * width, 4 * width, 3, padding=1)
        self.up4 = nn.Conv2d(4 * width, 2 * width, 1)
        self.join4 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up2 = nn.Conv2d(2 * width, width, 1)
        self.join2 = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 4, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.2)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # each has one

    def forward(self, drawing: Tensor) -> Tensor:
        """Logits [B, 1, H, W] of line pixels in float [B, 1, H, W]; H and W multiples of 8."""
        x2 = _active(self.down2(F.pixel_unshuffle(drawing, 2)))  # [B, width, H / 2, W / 2]
        x4 = _active(self.same4(_active(self.down4(x2))))
        x8 = _active(self.same8(_active(self.down8(x4))))
        x4 = _active(self.join4(x4 + _doubled(self.up4(x8))))
        x2 = _active(self.join2(x2 + _doubled(self.up2(x4))))
        return F.pixel_shuffle(self.last(x2), 2)


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
