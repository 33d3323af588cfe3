"""Half precision: computes a generator's networks in float16 where drawings stay the same, found by drawing with it."""

import copy
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.errors import ModelError
from engines.portrait import Image, PortraitBatch
from train.networks.generator import Generator
from train.networks.graph import DrawingGraph
from train.networks.norm import Norm, cast
from train.networks.unet import UNet

LARGEST_DIFFERENCE: Final = 2
"""Grey levels by which pixels of a drawing in half precision may differ from that in float32; not `STRAY_PIXELS`."""

STRAY_PIXELS: Final = 1e-4
"""The share of a drawing's pixels that may differ by more: on hard edges a few always do."""

MEAN_DIFFERENCE: Final = 0.1
"""Grey levels by which the pixels of a drawing may differ on average."""


BF16_DIFFERENCE: Final = 0.5
"""Grey levels by which the pixels of a drawing in bfloat16 may differ on average."""


@dataclass(frozen=True)
class HalfGenerator:
    """A generator that computes in half precision and draws as in float32.

    Attributes:
        generator: see `in_half` and `write_out_norms`.
        networks: the names of its networks that compute in float16.
        complete: whether these are all.
        largest: largest difference from the drawing in float32, in grey levels; see `largest_difference`.
        mean: the largest mean difference of a drawing.
        peak: the largest absolute value of all that was computed; float16 ends at 65504.
    """

    generator: Generator
    networks: tuple[str, ...]
    complete: bool
    largest: int
    mean: float
    peak: float


def halved(generator: Generator, portraits: PortraitBatch) -> HalfGenerator:
    """Puts as many networks into half precision as keep the drawings of some portraits.

    Drawings differ by at most `LARGEST_DIFFERENCE` and `MEAN_DIFFERENCE`. Tried are all networks, all but the
    global one, and the fusion alone, which is nearly half of the paper's work.

    Args:
        generator: a generator in evaluation mode, on the CPU.
        portraits: portraits that are drawn both ways and compared.

    Raises:
        ModelError: a network overflows, or no choice keeps the drawings.
    """
    every = tuple(name for name, _ in generator.named_children())
    choices = [
        every,
        tuple(name for name in every if name != "whole"),
        tuple(name for name in every if name == "fusion"),
    ]
    with _means(generator) as means:
        wanted = _draw(generator, portraits).astype(np.int16)
    found = ""
    for networks in filter(None, choices):
        half = in_half(generator, networks)
        for name in networks:
            write_out_norms(
                half.get_submodule(name),
                {norm.removeprefix(f"{name}."): mean for norm, mean in means.items() if norm.startswith(f"{name}.")},
            )
        with _watched(half) as peaks:
            differences = np.abs(_draw(half, portraits) - wanted)
        peak = max(peaks.values())
        if not np.isfinite(peak):
            where = next(name for name, value in peaks.items() if not np.isfinite(value)).removesuffix(".convolution")
            raise ModelError(f"its values overflow half precision in {where}; use --precision fp32")
        largest, mean = largest_difference(differences), float(differences.mean(axis=(1, 2)).max())
        if largest <= LARGEST_DIFFERENCE and mean <= MEAN_DIFFERENCE:
            return HalfGenerator(half, networks, networks == every, largest, mean, peak)
        found = f"its drawings differ by up to {largest} grey levels, {mean:.2f} on average"
    raise ModelError(
        f"{found}, from those in single precision, where {LARGEST_DIFFERENCE} and {MEAN_DIFFERENCE} are the limits; "
        f"use --precision fp32"
    )


def in_half(generator: Generator, networks: Collection[str]) -> Generator:
    """Copies a generator so that some of its networks compute in float16.

    The photo and its regions, the drawings that networks hand over, and each tanh stay in float32, and so does
    a network's first convolution: a grey level between -1 and 1 is not exact in float16, and norms with the
    statistics of an evenly dark region would magnify its error. Norms sum over a photo in float32; those with
    running statistics become part of the convolutions before them.

    Args:
        generator: a generator in evaluation mode; it is not changed.
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


def write_out_norms(network: nn.Module, means: Mapping[str, Tensor]) -> None:
    """Writes norms with photo statistics out in sums and products, in float32, as one pass over their input.

    Compilers make those part of the layers around them, where an instance norm is a kernel of its own that reads its
    input twice. The variance is the mean of squares less the square of the mean, so both must be small beside it: from
    the convolution before each norm is taken the mean that its channels usually have, which the norm would take away.

    Args:
        network: a network of a generator that `in_half` has made; it is changed.
        means: by the names of the network's norms, the means of their inputs, [C].
    """
    for place, parent in list(network.named_modules()):
        for (_, half), (name, norm) in pairwise(list(parent.named_children())):
            if isinstance(norm, Norm) and norm.statistics == "photo" and isinstance(half, _Convolution):
                mean = means[f"{place}.{name}" if place else name]
                half.convolution.bias = nn.Parameter(-mean.to(half.convolution.weight.dtype), requires_grad=False)
                setattr(parent, name, _OnePassNorm(norm))


def largest_difference(differences: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> int:
    """The largest difference of pixels, [B, H, W], of which `STRAY_PIXELS` are left out in each drawing."""
    return int(np.quantile(differences, 1 - STRAY_PIXELS, axis=(1, 2), method="higher").max())


def difference_in_bf16(generator: Generator, portraits: PortraitBatch) -> float:
    """How far drawings in bfloat16 are from those in float32: the largest mean difference of one, in grey levels.

    Convolutions compute in it, under torch's autocast.

    Args:
        generator: a generator in evaluation mode, on the CPU.
        portraits: portraits that are drawn both ways and compared.
    """
    wanted = _draw(generator, portraits).astype(np.int16)
    with torch.autocast("cpu", torch.bfloat16):
        differences = np.abs(_draw(generator, portraits) - wanted)
    return float(differences.mean(axis=(1, 2)).max())


def _draw(generator: Generator, portraits: PortraitBatch) -> Image:
    """Draws one portrait after the other: memory for one is enough."""
    graph = DrawingGraph(generator)
    tensors = [torch.from_numpy(array) for array in portraits.inputs().values()]
    with torch.inference_mode():
        return np.concatenate([graph(*(t[i : i + 1] for t in tensors)).numpy() for i in range(len(portraits))])


@contextmanager
def _means(generator: Generator) -> Iterator[dict[str, Tensor]]:
    """Fills in, while a generator draws, the means [C] that its norms' inputs have in all drawings, by their names."""
    sums: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()

    def watch(name: str, norm: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            counts[name] += 1
            sums[name] = sums.get(name, 0) + inputs[0].mean(dim=(0, 2, 3))
            means[name] = sums[name] / counts[name]

        return norm.register_forward_pre_hook(note)

    handles = [watch(name, norm) for name, norm in generator.named_modules() if isinstance(norm, Norm)]
    try:
        yield means
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _watched(generator: Generator) -> Iterator[dict[str, float]]:
    """Fills in, while a generator draws, the largest absolute value that each of its layers hands on.

    Values that are no numbers count as infinite.
    """
    peaks: dict[str, float] = {}

    def watch(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            peak = float(output.abs().max())
            peaks[name] = max(peaks.get(name, 0.0), peak if np.isfinite(peak) else float("inf"))

        return layer.register_forward_hook(note)

    handles = [watch(name, layer) for name, layer in generator.named_modules() if not list(layer.children())]
    try:
        yield peaks
    finally:
        for handle in handles:
            handle.remove()


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
        return cast(self.convolution(cast(x, self.convolution.weight.dtype)), self.outputs)


class _OnePassNorm(nn.Module):
    """A norm with photo statistics, written out; see `write_out_norms`."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(p.detach().view(1, -1, 1, 1)) for p in (norm.weight, norm.bias))
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        values = cast(x, torch.float32)
        mean, square = values.mean((2, 3), keepdim=True), (values * values).mean((2, 3), keepdim=True)
        scale = torch.rsqrt(F.relu(square - mean * mean) + self.eps) * self.weight
        return cast(values * scale + (self.bias - mean * scale), x.dtype)


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
