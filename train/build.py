"""Builds networks with fresh weights as a run's options say: generator, discriminators, line detectors."""

import dataclasses

from torch import nn

from train.networks import Discriminators, Generator, GeneratorConfig, LineDetectors
from train.options import TrainOptions


def make_generator(options: TrainOptions) -> Generator:
    """A generator with fresh weights, in training mode."""
    fields = [field.name for field in dataclasses.fields(GeneratorConfig)]
    generator = Generator(GeneratorConfig(**{name: getattr(options, name) for name in fields}))
    if not options.dropout:
        for module in generator.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    return generator


def make_discriminators(options: TrainOptions) -> Discriminators:
    """Discriminators with fresh weights."""
    return Discriminators(options.discriminator_width, local_networks=options.local_networks)


def make_detectors(options: TrainOptions) -> LineDetectors:
    """Line detectors with fresh weights."""
    return LineDetectors(options.detector_width)
