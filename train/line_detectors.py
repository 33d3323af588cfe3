"""The auxiliary stage's result: what the line detectors of L_DT minimise, and their file (sec. 5, footnote 2)."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from engines.atomic_files import write_atomically
from engines.errors import ModelError
from engines.regular_files import check_regular
from train.data.line_pairs import LinePair
from train.networks.lines import LineDetectors

FORMAT: Final = "apdraw-line-detectors"


def line_loss(found: tuple[Tensor, Tensor], pair: LinePair) -> Tensor:
    """What the detectors minimise: cross entropy plus 1 - Dice, which does not let the many blank pixels win.

    Args:
        found: logits [B, 1, H, W] of black and of white lines.
        pair: the drawings' true lines.

    Returns:
        A scalar, the sum over black and white, in float32.
    """
    terms = []
    for logits, lines in zip(found, (pair.black, pair.white), strict=True):
        logits = logits.float()
        chance = logits.sigmoid()
        dice = (2 * (chance * lines).sum() + 1) / (chance.sum() + lines.sum() + 1)
        terms.append(F.binary_cross_entropy_with_logits(logits, lines) + 1 - dice)
    return torch.stack(terms).sum()


def save_detectors(path: Path, detectors: LineDetectors, metadata: dict[str, str] | None = None) -> None:
    """Writes line detectors; the file appears under its name only when it is whole.

    Args:
        path: the `.safetensors` file; replaced where it exists.
        detectors: the detectors to write, on any device.
        metadata: whatever is worth keeping about them.

    Raises:
        FileWriteError: the file cannot be written.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in detectors.state_dict().items()}
    write_atomically(path, save(tensors, (metadata or {}) | {"format": FORMAT, "width": str(detectors.width)}))


def load_detectors(path: Path) -> LineDetectors:
    """Reads what `save_detectors` wrote.

    Returns:
        The detectors in evaluation mode, float32 on the CPU, their weights frozen.

    Raises:
        ModelError: not a readable file of line detectors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"cannot read the line detectors {path}: {error}; train them with --stage auxiliary"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path} holds no line detectors: name what --stage auxiliary wrote")
    try:
        detectors = LineDetectors(int(metadata["width"]))
        detectors.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError):
        raise ModelError(f"the weights in {path} do not fit their description: train the detectors again") from None
    return detectors.eval().requires_grad_(False)
