"""A graph with the generator's inputs and output that needs no training, and portraits to draw with it."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper

from engines.portrait import SIZE, Image, PortraitBatch

METADATA = {
    "format": "apdraw-generator",
    "format_version": "1",
    "name": "tiny",
    "version": "0.1",
    "norm_statistics": "running",
    "config": '{"width": 8}',
    "licence": "CC0-1.0",
    "training_data": "none",
    "generator_sha256": "ab" * 32,
}

PHOTO = ("photo", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])
LANDMARKS = ("landmarks", TensorProto.FLOAT, ["batch", 5, 2])
MASK = ("mask", TensorProto.UINT8, ["batch", SIZE, SIZE])
DRAWING = ("drawing", TensorProto.UINT8, ["batch", SIZE, SIZE])


@pytest.fixture
def make_batch() -> Callable[..., PortraitBatch]:
    """Portraits of noise, each different; the same seed gives the same ones."""

    def make(count: int, seed: int = 0) -> PortraitBatch:
        made = _noise(count, seed)
        return PortraitBatch(made.photo.copy(), made.landmarks.copy(), made.mask.copy())

    return make


@lru_cache(maxsize=32)
def _noise(count: int, seed: int) -> PortraitBatch:
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    landmarks = rng.integers(100, 400, (count, 5, 2)).astype(np.float32)
    mask = np.where(rng.random((count, SIZE, SIZE)) < 0.5, 255, 0).astype(np.uint8)
    return PortraitBatch(photo, landmarks, mask)


def _expected_drawing(batch: PortraitBatch) -> Image:
    """What the tiny graph draws: half the mean colour where the mask is, plus a quarter of the first x."""
    # By channels, many times as fast as the mean over the last axis, and the same.
    red, green, blue = (batch.photo[..., channel].astype(np.float32) for channel in range(3))
    grey = (red + green + blue) / 3 * (batch.mask / np.float32(255))
    return np.round(grey / 2 + batch.landmarks[:, 0, 0, None, None] / 4).astype(np.uint8)


@pytest.fixture
def expected_drawing() -> Callable[[PortraitBatch], Image]:
    return _expected_drawing


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny graph, with changes to its signature or metadata where a test wants them."""

    def write(
        name: str = "tiny.onnx",
        *,
        photo: tuple = PHOTO,
        drawing: tuple = DRAWING,
        metadata: dict[str, str] = METADATA,
        extra_input: bool = False,
        half: bool = False,
    ) -> Path:
        nodes = [
            helper.make_node("Cast", [photo[0]], ["colours"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["colours", "last"], ["grey"], keepdims=0),
            helper.make_node("Cast", ["mask"], ["mask_levels"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["mask_levels", "twice_white"], ["half_mask"]),
            helper.make_node("Mul", ["grey", "half_mask"], ["half_grey"]),
            helper.make_node("Slice", ["landmarks", "zeros", "ones", "axes"], ["first_x"]),
            helper.make_node("Mul", ["first_x", "quarter"], ["shift"]),
            helper.make_node("Add", ["half_grey", "shift"], ["levels"]),
            helper.make_node("Round", ["levels"], ["whole_levels"]),
            helper.make_node("Cast", ["whole_levels"], [drawing[0]], to=drawing[1]),
        ]
        constants = [
            helper.make_tensor("last", TensorProto.INT64, [1], [3]),
            helper.make_tensor("twice_white", TensorProto.FLOAT, [1], [510.0]),
            helper.make_tensor("quarter", TensorProto.FLOAT, [1], [0.25]),
            helper.make_tensor("zeros", TensorProto.INT64, [2], [0, 0]),
            helper.make_tensor("ones", TensorProto.INT64, [2], [1, 1]),
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        ]
        if half:  # a convolution in half precision that adds nothing
            nodes[-2:-2] = [
                helper.make_node("Cast", ["landmarks"], ["half_landmarks"], to=TensorProto.FLOAT16),
                helper.make_node("Conv", ["half_landmarks", "nothing"], ["no_half_levels"]),
                helper.make_node("Cast", ["no_half_levels"], ["no_levels"], to=TensorProto.FLOAT),
                helper.make_node("Add", ["levels", "no_levels"], ["all_levels"]),
            ]
            nodes[-2].input[:] = ["all_levels"]
            constants.append(helper.make_tensor("nothing", TensorProto.FLOAT16, [1, 5, 2], np.zeros(10, np.float16)))
        inputs = [photo, LANDMARKS, MASK]
        if extra_input:
            inputs.append(("style", TensorProto.FLOAT, ["batch", 1]))
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(*port) for port in inputs],
            [helper.make_tensor_value_info(*drawing)],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        helper.set_model_props(model, metadata)
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def tiny_metadata() -> dict[str, str]:
    """What the tiny graph says about itself."""
    return METADATA


@pytest.fixture
def tiny_model(write_model: Callable[..., Path]) -> Path:
    return write_model()


class TinyModule(torch.nn.Module):
    """The tiny graph as a torch module; its one weight is the quarter."""

    def __init__(self, quarter: torch.Tensor) -> None:
        super().__init__()
        self.quarter = torch.nn.Parameter(quarter)

    def forward(self, photo: torch.Tensor, landmarks: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        grey = photo.float().mean(dim=3) * (mask.float() / 255)
        levels = grey / 2 + landmarks[:, 0, 0, None, None] * self.quarter
        return levels.round().to(torch.uint8)


def _load_tiny(path: Path) -> torch.nn.Module:
    return TinyModule(safetensors.torch.load_file(path)["quarter"]).eval()


@pytest.fixture
def load_tiny() -> Callable[[Path], torch.nn.Module]:
    return _load_tiny


@pytest.fixture
def write_weights(tmp_path: Path) -> Callable[..., Path]:
    """Writes the `.safetensors` file of the tiny module."""

    def write(name: str = "tiny.safetensors", *, metadata: dict[str, str] = METADATA) -> Path:
        path = tmp_path / name
        safetensors.torch.save_file({"quarter": torch.tensor(0.25)}, path, metadata)
        return path

    return write


@pytest.fixture
def tiny_pair(write_model: Callable[..., Path], write_weights: Callable[..., Path]) -> Path:
    """The `.onnx` file of a pair with one stem, as the shipped model is."""
    write_weights()
    return write_model()
