"""Small generators with something to draw, and the authors' reference model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import generators
import numpy as np
import pytest
import torch
from generators import Inputs, make_inputs
from torch import Tensor

from engines.portrait import SIZE
from train.networks import Generator
from train.npr.face_parsing import FACE, PERSON


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small networks gain nothing from threads, and lose much where the cores are busy."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def one_portrait_shown() -> Iterator[None]:
    """Pictures of several portraits would be half of a run of a step or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.loop.SHOWN_PORTRAITS", 1)
        yield


@pytest.fixture(scope="session")
def inputs() -> Callable[..., Inputs]:
    return make_inputs


@pytest.fixture(scope="session")
def lively_generator() -> Callable[..., Generator]:
    return generators.lively_generator


@dataclass(frozen=True)
class Golden:
    """The authors' small model: its files, its input, and what their program made of them."""

    folder: Path
    inputs: Inputs
    target: Tensor
    outputs: dict[str, Tensor]


@pytest.fixture(scope="session")
def golden(shared: Path) -> Golden:
    folder = shared / "golden" / "author_model"
    pair = cv2.imread(str(folder / "data/train/sample.png"))[..., ::-1].copy()
    pictures = torch.from_numpy(pair).permute(2, 0, 1)[None] / 127.5 - 1
    mask = cv2.imread(str(folder / "bg/sample.png"), cv2.IMREAD_GRAYSCALE)
    landmarks = np.loadtxt(folder / "lm/sample.txt", dtype=np.float32)
    outputs = np.load(folder / "outputs.npz")
    return Golden(
        folder,
        Inputs(pictures[..., :512], torch.from_numpy(landmarks)[None], torch.from_numpy(mask)[None, None] / 255),
        pictures[:, :1, :, 512:],  # a grey drawing: its three channels are alike
        {name: torch.from_numpy(outputs[name]) for name in outputs.files},
    )


@pytest.fixture
def labels() -> np.ndarray:
    """Of a portrait: background, person and face."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(labels, (256, 560), (230, 150), 0, 0, 360, PERSON, -1)
    cv2.ellipse(labels, (256, 280), (150, 200), 0, 0, 360, PERSON, -1)
    cv2.ellipse(labels, (256, 300), (120, 150), 0, 0, 360, FACE, -1)
    return labels
