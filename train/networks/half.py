"""A generator that computes in half precision where half precision keeps the drawing."""

import copy
from collections.abc import Collection
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from train.networks.generator import Generator
from train.networks.norm import Norm
from train.networks.unet import UNet


def in_half(generator: Generator, networks: Collection[str]) -> Generator:
    """Copies a generator so that some of its networks compute in float16.

    The photo and its regions, the drawings that networks hand over, and each tanh stay in float32, and so does
    a network's first convolution: a grey level between -1 and 1 is not exact in float16, and norms with the
    statistics of an evenly dark region would magnify its error. Norms sum over a photo in float32; those with
    running statistics become part of the convolutions before them.

    Args:
        generator: in evaluation mode; stays as it is.
        networks: names of its networks: `whole`, `hair`, `fusion`, ...

    Returns:
        A generator with the same inputs and outputs. Weights too large for float16 are infinite in it.
    """
    half = copy.deepcopy(generator)
    for name in networks:
        network = half.get_submodule(name)
        _fold_norms(network)
        ends = ("down.0.conv", "up.0.conv") if isinstance(network, UNet) else ("first", "last")
        first, last = (network.get_submodule(end) for end in ends)
        for parent in list(network.modules()):
            for child, convolution in parent.named_children():
                if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d):
                    outputs = torch.float32 if convolution is last else torch.float16
                    weights = torch.float32 if convolution is first else torch.float16
                    setattr(parent, child, _Convolution(convolution.to(weights), outputs))
    return half


class _Convolution(nn.Module):
    """A convolution in the precision of its weights, whatever that of its input.

    Args:
        convolution: the convolution.
        outputs: the precision of its output.
    """

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d, outputs: torch.dtype) -> None:
        super().__init__()
        self.convolution = convolution
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.to(self.convolution.weight.dtype)).to(self.outputs)  # type: ignore[no-any-return]


def _fold_norms(network: nn.Module) -> None:
    """Makes norms with running statistics part of the convolutions that stand before them."""
    for parent in list(network.modules()):
        for (first, convolution), (second, norm) in pairwise(list(parent.named_children())):
            if not isinstance(norm, Norm) or norm.statistics != "running":
                continue
            if isinstance(convolution, nn.ConvTranspose2d):
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm, transpose=True))
            elif isinstance(convolution, nn.Conv2d):
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm))
            setattr(parent, second, nn.Identity())
