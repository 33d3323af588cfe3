"""The configuration of a generator: widths of its networks and statistics of its norms, as model files keep it."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Final, Literal, get_args

NormStatistics = Literal["photo", "running"]

WIDTHS: Final = ("width", "local_width", "region_width", "background_width", "fusion_width")
"""The fields that are widths."""

_MAX_WIDTH: Final = 1024


@dataclass(frozen=True, init=False)
class GeneratorConfig:
    """The widths of the generator's networks and what their norms use once trained.

    A width is the number of channels of a network's first convolution; the paper's is 64 everywhere.
    Left out, the others are as wide as the global network, and the background's as the hair's.

    Attributes:
        width: the global U-Net.
        local_width: the four U-Nets of the eyes, the nose and the mouth.
        region_width: the two U-Nets of hair and background.
        fusion_width: the fusion network.
        norm_statistics: `running`: averages kept while training, as usual; `photo`: those of the one photo
            being drawn, as the authors' program does with their weights.
        local_networks: whether there are local networks and a fusion; without them the global network's drawing is
            the drawing, as in the paper's ablation (sec. 7.1) and in Pix2Pix. Their widths then mean nothing.
        background_width: width of the background's U-Net, where it is not `region_width`.
        fusion_statistics: `norm_statistics` of the fusion network, where they are others. Its inputs are drawings,
            much alike, so that averages serve it; and averages cost nothing: they become part of the convolutions.

    Raises:
        ValueError: a width that is no whole number from 1 to 1024, or another value that means nothing.
    """

    width: int
    local_width: int
    region_width: int
    fusion_width: int
    norm_statistics: NormStatistics
    local_networks: bool
    background_width: int
    fusion_statistics: NormStatistics

    def __init__(
        self,
        width: int = 64,
        local_width: int | None = None,
        region_width: int | None = None,
        fusion_width: int | None = None,
        norm_statistics: NormStatistics = "running",
        local_networks: bool = True,
        background_width: int | None = None,
        fusion_statistics: NormStatistics | None = None,
    ) -> None:
        region_width = width if region_width is None else region_width
        values = {
            "width": width,
            "local_width": width if local_width is None else local_width,
            "region_width": region_width,
            "fusion_width": width if fusion_width is None else fusion_width,
            "norm_statistics": norm_statistics,
            "local_networks": local_networks,
            "background_width": region_width if background_width is None else background_width,
            "fusion_statistics": norm_statistics if fusion_statistics is None else fusion_statistics,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for name in WIDTHS:
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= _MAX_WIDTH:
                raise ValueError(f"{name} must be a whole number from 1 to {_MAX_WIDTH}, not {value!r}")
        for name in ("norm_statistics", "fusion_statistics"):
            if getattr(self, name) not in get_args(NormStatistics):
                raise ValueError(f"{name} must be 'photo' or 'running', not {getattr(self, name)!r}")
        if type(self.local_networks) is not bool:
            raise ValueError(f"local_networks must be true or false, not {self.local_networks!r}")

    def to_json(self) -> str:
        """The configuration as one line of JSON, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "GeneratorConfig":
        """Reads what `to_json` wrote; widths left out are filled in as in the constructor.

        Raises:
            ValueError: not a JSON object, an unknown key, or a value that the constructor refuses.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"the generator's configuration is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError("the generator's configuration is not a JSON object")
        unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"the generator's configuration has unknown keys: {', '.join(unknown)}")
        return cls(**values)
