"""The log of a run: `metrics.jsonl`, TensorBoard events, and pictures."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engines.atomic_files import replacing
from engines.journal import Journal, read_journal

Picture = npt.NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""

FILE: Final = "metrics.jsonl"


class RunLog:
    """Writes losses and pictures of a run; what lies after the step that the run goes on from is taken out first.

    Args:
        run: the run folder.
        step: step that the run goes on from; 0 at its beginning.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = run / FILE
        self._pictures = run / "pictures"
        self._pictures.mkdir(parents=True, exist_ok=True)
        _cut(self._path, step)
        self._journal = Journal(self._path)
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a line, and each number of it to TensorBoard."""
        self._journal.append({"step": step, **values})
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def picture(self, step: int, picture: Picture) -> None:
        """Adds a picture, as `pictures/step-N.jpg` and to TensorBoard."""
        import cv2

        _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        with replacing(self._pictures / f"step-{step:08d}.jpg") as file:
            file.write(encoded.tobytes())
        self._board.add_image("drawings", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what is still held back."""
        self._board.close()
        self._journal.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; a last one that an interruption tore is left out."""
    lines = []
    for _, line in read_journal(run / FILE):
        if type(line.get("step")) is int:
            lines.append(line)
    return lines


def _cut(path: Path, step: int) -> None:
    if not os.path.lexists(path):
        return
    kept = [line for line in read_metrics(path.parent) if line["step"] <= step]
    with replacing(path) as file:
        file.writelines((json.dumps(line) + "\n").encode() for line in kept)
