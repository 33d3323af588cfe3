"""A small data set of portraits of nobody, with drawings to be measured against."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.portrait import SIZE, Image
from engines.synthetic import synthetic_portraits


def make_dataset(folder: Path, names: list[str], split: str = "val") -> Path:
    """Writes a prepared data set; each portrait has lines of its own."""
    portraits = synthetic_portraits(len(names))
    for part in ("photos", "drawings", "landmarks", "masks"):
        (folder / part).mkdir(parents=True)
    for index, name in enumerate(names):
        write(folder / "photos" / f"{name}.png", portraits.photo[index][..., ::-1])
        write(folder / "masks" / f"{name}.png", portraits.mask[index])
        write(folder / "drawings" / f"{name}.png", drawing(index))
        np.savetxt(folder / "landmarks" / f"{name}.txt", np.rint(portraits.landmarks[index]), "%d")
    lines = [{"name": name, "source": f"{name}.jpg", "split": split, "left_out": None} for name in names]
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def drawing(seed: int) -> Image:
    """uint8 [512, 512]: lines and a filled area on white."""
    rng = np.random.default_rng(seed)
    page = np.full((SIZE, SIZE), 255, np.uint8)
    cv2.ellipse(page, (256, 280), (120 + 5 * seed, 160), 0, 0, 360, 0, 2)
    cv2.rectangle(page, (140, 60), (370, 150 + 5 * seed), 0, -1)
    for start, end in rng.integers(100, 400, (20, 2, 2)).tolist():
        cv2.line(page, start, end, int(rng.integers(0, 100)), int(rng.integers(1, 4)))
    return page


def write(path: Path, picture: Image) -> None:
    assert cv2.imwrite(str(path), picture)


def grid_features(drawings: Image) -> npt.NDArray[np.float32]:
    """In place of Inception's: the mean brightness in each of 8 x 8 squares, float32 [B, 64]."""
    side = SIZE // 8
    return drawings.reshape(-1, 8, side, 8, side).mean(axis=(2, 4), dtype=np.float32).reshape(-1, 64)
