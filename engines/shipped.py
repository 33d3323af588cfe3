"""Paths of the model files that come with the program: the generators and the small networks for faces and people."""

from pathlib import Path
from typing import Final

WEIGHTS: Final = Path(__file__).parent / "weights"

STYLES: Final = {"fine": "apdraw.onnx", "bold": "bold.onnx"}
"""The generators by their style: thin lines, or thick lines and black areas."""


def shipped_model(style: str = "fine") -> Path:
    """A generator that comes with the program, `.onnx`, by its style; its `.safetensors` for torch lies beside it."""
    return WEIGHTS / STYLES[style]


def shipped_segmenter() -> Path:
    """The weights of the network that tells the person from the background, `.onnx`."""
    return WEIGHTS / "segmenter.onnx"


def shipped_detector() -> Path:
    """The weights of the network that finds faces, `.onnx`."""
    return WEIGHTS / "retinaface.onnx"


def shipped_mesh() -> Path:
    """The weights of the network that finds face meshes, `.onnx`."""
    return WEIGHTS / "mesh.onnx"
