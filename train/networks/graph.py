"""The generator as every engine runs it: bytes in, bytes out."""

import torch
from torch import Tensor, nn

from engines.portrait import MASK_THRESHOLD
from train.networks.generator import Generator


class DrawingGraph(nn.Module):
    """The whole way from an aligned portrait's pixels to a drawing's, as one graph with a free batch size.

    Args:
        generator: put into evaluation mode here.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.eval()

    def forward(self, photo: Tensor, landmarks: Tensor, mask: Tensor) -> Tensor:
        """Draws a batch.

        Args:
            photo: uint8 [B, 512, 512, 3], RGB.
            landmarks: float32 [B, 5, 2], pixels (x, y); rounded to whole ones.
            mask: uint8 [B, 512, 512], from 128 on the person.

        Returns:
            uint8 [B, 512, 512], 0 black to 255 white.
        """
        # Bytes are cast before anything else, and the drawing last: TensorRT can do nothing else with them.
        values = photo.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1
        person = (mask.to(torch.float32) >= MASK_THRESHOLD).to(torch.float32)
        drawing = self.generator(values, landmarks, person.unsqueeze(1)).drawing
        grey = drawing.squeeze(1).to(torch.float32) * 127.5 + 127.5
        return grey.round().to(torch.uint8)  # type: ignore[no-any-return]
