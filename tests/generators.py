"""Generators for tests, and their ONNX files, each made once for all tests of a session, whatever process asks."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock
from torch import Tensor

from engines.atomic_files import write_atomically
from engines.portrait import PortraitBatch
from engines.select import shipped_model
from engines.synthetic import synthetic_portraits
from train.author_weights import NETWORKS, fusion_names, load_author_generator, unet_names
from train.export import to_onnx
from train.export.half import HalfGenerator, halved
from train.export.to_onnx import export_onnx
from train.model_file import load_generator, round_to_half
from train.networks import Generator, GeneratorConfig
from train.networks.graph import DrawingGraph
from train.networks.norm import Norm, measure_norms
from train.samples import sample_portraits

_traced = to_onnx._traced  # before any test replaces it

ABOUT = {"name": "small", "version": "1.2", "licence": "CC0-1.0", "training_data": "nothing"}


@dataclass(frozen=True)
class Inputs:
    photo: Tensor
    landmarks: Tensor
    mask: Tensor


def make_inputs(count: int, seed: int = 0) -> Inputs:
    return as_inputs(synthetic_portraits(count, seed))


def as_inputs(portraits: PortraitBatch) -> Inputs:
    """What a generator is given of portraits."""
    return Inputs(
        torch.from_numpy(portraits.photo).permute(0, 3, 1, 2) / 127.5 - 1,
        torch.from_numpy(portraits.landmarks),
        torch.from_numpy(portraits.mask)[:, None] / 255,
    )


def lively_generator(width: int = 4, statistics: str = "running", seed: int = 0) -> Generator:
    """A generator with fresh weights whose drawings have contrast, so that differences show."""
    torch.manual_seed(seed)
    generator = Generator(GeneratorConfig(width, norm_statistics=statistics))
    unets = [module for name, module in generator.named_children() if name != "fusion"]
    with torch.no_grad():
        for last in [*(unet.up[0].conv for unet in unets), generator.fusion.last]:
            last.weight.mul_(20)
        if statistics == "running":
            for norm in (module for module in generator.modules() if isinstance(module, Norm)):
                norm.momentum = 1.0  # the running averages are those of the one batch below
            some = make_inputs(2, seed=99)
            generator.train()(some.photo, some.landmarks, some.mask)
    return generator.eval()


def timid_generator() -> Generator:
    """Fresh weights, whose drawings have little contrast: half precision changes nothing that is seen."""
    torch.manual_seed(0)
    return Generator(GeneratorConfig(2, norm_statistics="photo")).eval()


def author_states(generator: Generator) -> dict[str, dict[str, Tensor]]:
    """The weights of a generator by the networks and names of the authors' program."""
    states: dict[str, dict[str, Tensor]] = {}
    for key, name in NETWORKS.items():
        network = generator.get_submodule(name)
        names = fusion_names() if name == "fusion" else unet_names(len(network.up))
        theirs = {own: author for author, own in names.items()}
        states[key] = {}
        for full, value in network.state_dict().items():
            layer, _, kind = full.rpartition(".")
            states[key][f"{theirs[layer]}.{kind}"] = value.clone()
    return states


@dataclass(frozen=True)
class Exported:
    """A generator and its ONNX file, which lies alone in its folder; tests change neither.

    Attributes:
        generator: draws as the file does in single precision.
        path: the file.
        told: its metadata, as `export_onnx` returned them.
    """

    generator: Generator
    path: Path
    told: dict[str, str]


class Generators:
    """What several tests would have to make anew.

    What takes seconds is kept in a folder of the session and made under a lock: nothing outlives the session, so that
    a broken exporter shows in the next one.

    Args:
        folder: is the same for all processes of a session.
        shared: finds the folder of reference material, or skips the test.
    """

    def __init__(self, folder: Path, shared: Callable[[], Path]) -> None:
        self._folder = folder
        self._shared = shared
        self._exported: dict[tuple[str, str, str], Exported] = {}

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The bytes that the first caller of this name made."""
        path = self._folder / name
        with FileLock(self._folder / f"{name}.lock"):
            if not path.exists():
                write_atomically(path, make())
        return path.read_bytes()

    def generator(self, weights: str, statistics: str) -> tuple[Generator, dict[str, str]]:
        """A generator on the CPU, in evaluation mode, and its metadata.

        Args:
            weights: `lively`, `timid`, `shipped` or `authors`.
            statistics: those of its norms. The authors' model has both kinds; the shipped one's running statistics,
                but for the fusion's, are those of the sample portraits.
        """
        if weights == "lively":
            return lively_generator(8, statistics), ABOUT
        if weights == "timid":
            assert statistics == "photo"
            return timid_generator(), ABOUT
        if weights == "shipped":
            generator, metadata = load_generator(shipped_model().with_suffix(".safetensors"))
        else:
            generator, metadata = load_author_generator(self._shared() / "golden" / "author_model"), {}
        if generator.config.norm_statistics == statistics:
            return generator.eval(), metadata
        other = Generator(dataclasses.replace(generator.config, norm_statistics=statistics))
        other.load_state_dict(generator.state_dict())
        if weights == "shipped" and statistics == "running":
            samples = as_inputs(sample_portraits())
            measure_norms(other.train(), zip(samples.photo, samples.landmarks, samples.mask, strict=True))
        return other.eval(), metadata

    def halved(self, generator: Generator, portraits: PortraitBatch) -> HalfGenerator:
        """As `train.export.half.halved`, which is asked once for the same weights and portraits."""

        def make() -> bytes:
            content = io.BytesIO()
            torch.save(halved(generator, portraits), content)
            return content.getvalue()

        digest = _digest(generator)
        for array in portraits.inputs().values():
            digest.update(array.tobytes())
        found = torch.load(io.BytesIO(self.once(f"half-{digest.hexdigest()}", make)), weights_only=False)
        assert isinstance(found, HalfGenerator)
        return found

    def traced(self, graph: DrawingGraph) -> Any:
        """As `train.export.to_onnx`'s own, most of an export's time, which traces layers of the same kinds once.

        The weights are put in here: their numbers and widths are no part of what is traced. Were they, `export_onnx`
        would find that the graph draws something else.
        """
        settled = to_onnx.settled(graph)
        weights = {name: value.detach().numpy() for name, value in settled.named_parameters()}
        weights |= {name: value.numpy() for name, value in settled.named_buffers()}
        name = f"traced-{_kinds(settled)}"
        model = onnx.load_from_string(self.once(name, lambda: _traced(graph).SerializeToString()))
        for node in model.graph.node:
            if node.op_type == "Conv" and node.input[2] not in weights:  # zeros, where there is no bias
                weights[node.input[2]] = np.zeros_like(weights[node.input[1]][:, 0, 0, 0])
        for weight in model.graph.initializer:
            if weight.name in weights:
                weight.CopyFrom(onnx.numpy_helper.from_array(weights[weight.name], weight.name))
        del model.graph.value_info[:]  # shapes, of other widths
        return model

    def exported(self, statistics: str, precision: str = "fp32", weights: str = "lively", **options: Any) -> Exported:
        """What `export_onnx` made of a generator.

        Args:
            statistics: see `generator`.
            precision: what the graph computes in, or `half weights`: in float32, its weights stored in half.
            weights: see `generator`.
            options: what else `export_onnx` takes.
        """
        if (found := self._exported.get((statistics, precision, weights))) is not None:
            return found
        generator, metadata = self.generator(weights, statistics)
        half_weights = precision == "half weights"
        name = f"{weights}-{statistics}-{precision.replace(' ', '-')}"
        path = self._folder / name / "model.onnx"

        def make() -> bytes:
            path.parent.mkdir(exist_ok=True)
            computed = "fp32" if half_weights else precision
            with pytest.MonkeyPatch.context() as patch:
                self.patch(patch)
                told = export_onnx(generator, path, metadata, precision=computed, half_weights=half_weights, **options)
            return json.dumps(told).encode()

        told = json.loads(self.once(f"{name}.json", make))
        if half_weights:
            round_to_half(generator)
        return self._exported.setdefault((statistics, precision, weights), Exported(generator, path, told))

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets exports of this process share what they trace and try in half precision."""
        monkeypatch.setattr(to_onnx, "_traced", self.traced)
        monkeypatch.setattr(to_onnx, "halved", self.halved)


def _kinds(graph: DrawingGraph) -> str:
    """A digest of its layers' places, kinds and types."""
    told = [(name, type(layer).__name__, getattr(layer, "statistics", "")) for name, layer in graph.named_modules()]
    told += [(name, str(value.dtype), str(value.ndim)) for name, value in graph.state_dict().items()]
    told += [(name, str(layer.outputs), "") for name, layer in graph.named_modules() if hasattr(layer, "outputs")]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _digest(generator: Generator) -> Any:
    """Of its layers and weights, and of what its norms use."""
    digest = hashlib.sha256(f"{generator.config.to_json()}{generator}".encode())
    for name, value in generator.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().contiguous().numpy().tobytes())
    return digest
