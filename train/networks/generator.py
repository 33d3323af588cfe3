"""The hierarchical generator G: a global network, six local ones, and their fusion (sec. 4.1)."""

from typing import NamedTuple

from torch import Tensor, nn

from train.networks.config import GeneratorConfig
from train.networks.fusion import Fusion
from train.networks.initialise import initialise
from train.networks.regions import LocalParts, Regions
from train.networks.unet import feature_unet, global_unet, region_unet


class GeneratorOutput(NamedTuple):
    """Everything that the losses look at; floats in [-1, 1], 1 white.

    Without local networks there are no local drawings. Under autocast all come in the precision computed in.
    """

    drawing: Tensor  # [B, 1, 512, 512]: G(p)
    global_drawing: Tensor  # [B, 1, 512, 512]: I_global
    local_drawing: Tensor | None  # [B, 1, 512, 512]: I_local
    parts: LocalParts | None  # what each local network drew; hair and background not yet masked


class Generator(nn.Module):
    """Draws aligned portraits.

    Fresh weights on construction: N(0, 0.02) for convolutions, N(1, 0.02) for norms.

    Args:
        config: widths, and what the norms use in evaluation.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.whole = global_unet(config.width, config.norm_statistics)
        if config.local_networks:
            self._add_local_networks(config)
        initialise(self)

    def _add_local_networks(self, config: GeneratorConfig) -> None:
        statistics = config.norm_statistics
        self.eye_left = feature_unet(config.local_width, statistics)
        self.eye_right = feature_unet(config.local_width, statistics)
        self.nose = feature_unet(config.local_width, statistics)
        self.mouth = feature_unet(config.local_width, statistics)
        self.hair = region_unet(config.region_width, statistics)
        self.background = region_unet(config.background_width, statistics)
        self.fusion = Fusion(config.fusion_width, config.fusion_statistics)

    def forward(self, photo: Tensor, landmarks: Tensor, mask: Tensor) -> GeneratorOutput:
        """Draws a batch of portraits.

        Args:
            photo: float [B, 3, 512, 512] in [-1, 1], RGB.
            landmarks: [B, 5, 2] pixels (x, y): left eye, right eye (as seen in the image), nose tip, left and
                right mouth corner; rounded to whole pixels here.
            mask: float [B, 1, 512, 512], 1 on the person, 0 elsewhere.
        """
        global_drawing = self.whole(photo)
        if not self.config.local_networks:
            return GeneratorOutput(global_drawing, global_drawing, None, None)
        regions = Regions.of(landmarks, mask)
        photos = regions.parts(photo)
        drawings = LocalParts(
            self.eye_left(photos.eye_left),
            self.eye_right(photos.eye_right),
            self.nose(photos.nose),
            self.mouth(photos.mouth),
            self.hair(photos.hair),
            self.background(photos.background),
        )
        local_drawing = regions.combine(drawings)
        drawing = self.fusion(global_drawing, local_drawing)
        return GeneratorOutput(drawing, global_drawing, local_drawing, drawings)
