"""The networks of APDrawingGAN (sec. 4 of the paper): pure torch modules, no files, no training."""

from train.networks.config import GeneratorConfig
from train.networks.discriminators import Discriminators
from train.networks.generator import Generator, GeneratorOutput
from train.networks.lines import LineDetectors
from train.networks.regions import LocalParts, Regions

__all__ = [
    "Discriminators",
    "Generator",
    "GeneratorConfig",
    "GeneratorOutput",
    "LineDetectors",
    "LocalParts",
    "Regions",
]
