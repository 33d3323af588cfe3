"""Paths of the model files that come with the program: the generator and the small networks for faces and people."""

from pathlib import Path
from typing import Final

WEIGHTS: Final = Path(__file__).parent / "weights"


def shipped_model() -> Path:
    """The generator that comes with the program, `.onnx`; its `.safetensors` for torch lies beside it."""
    return WEIGHTS / "apdraw.onnx"


def shipped_segmenter() -> Path:
    """The weights of the network that tells the person from the background, `.onnx`."""
    return WEIGHTS / "segmenter.onnx"


def shipped_detector() -> Path:
    """The weights of the network that finds faces, `.onnx`."""
    return WEIGHTS / "retinaface.onnx"


def shipped_mesh() -> Path:
    """The weights of the network that finds face meshes, `.onnx`."""
    return WEIGHTS / "mesh.onnx"
