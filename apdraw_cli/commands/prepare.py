"""Makes a training set out of photos: aligned portraits, landmarks, masks, two-tone drawings (sec. 6 of the paper)."""

import csv
import json
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from apdraw_cli.errors import PhotoError, UsageError
from engines.portrait import WHITE, Image

VALIDATION_SHARE: Final = 0.1
"""Share of the photos put aside for validation where no index says which."""

ROUND_FRAME: Final = "round frame"


@dataclass(frozen=True)
class PrepareResult:
    """What was made of the photos.

    Attributes:
        dataset: the folder written.
        prepared: portraits in it.
        left_out: number of photos left out, by reason.
    """

    dataset: Path
    prepared: int
    left_out: dict[str, int]


def prepare(
    photos: Path, dataset: Path, *, labels: Path | None = None, index: Path | None = None, workers: int = 1
) -> PrepareResult:
    """Aligns photos, labels them, draws them by filtering and writes a data set.

    Written below `dataset`: `photos/NAME.png`, `drawings/NAME.png`, `landmarks/NAME.txt`, `masks/NAME.png`
    (255 person), `labels/NAME.png` (0 background, 1 person, 2 face oval) and `index.jsonl` (source, split, what was
    left out and why). Portraits in a round frame are written too, since a segmenter can learn from them, but count
    as left out.

    Args:
        photos: folder of photos.
        dataset: folder to write.
        labels: folder of label maps, `NAME.png` of a photo's size; without it apdraw's own segmenter labels.
        index: CSV file with columns `file` and `split` (`train` or `val`); without it a tenth is put aside.
        workers: processes.

    Raises:
        UsageError: there are no photos, or the index cannot be read.
    """
    import joblib

    from apdraw_cli.conversion.sources import EXTENSIONS

    if not photos.is_dir():
        raise UsageError(f"{photos} is no folder: name one with photos")
    sources = sorted(path for path in photos.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not sources:
        raise UsageError(f"there are no photos in {photos}: name a folder of photos")
    splits = _read_splits(index) if index else {}
    for folder in ("photos", "drawings", "landmarks", "masks", "labels"):
        (dataset / folder).mkdir(parents=True, exist_ok=True)
    label_maps = [labels / f"{source.stem}.png" if labels else None for source in sources]
    jobs = (
        joblib.delayed(_prepare_one)(source, label_map, dataset)
        for source, label_map in zip(sources, label_maps, strict=True)
    )
    reasons = joblib.Parallel(n_jobs=workers, batch_size=8)(jobs)
    with (dataset / "index.jsonl").open("w", encoding="utf-8") as file:
        for source, reason in zip(sources, reasons, strict=True):
            split = splits.get(source.name) or split_of(source.stem)
            line = {"name": source.stem, "source": source.name, "split": split, "left_out": reason}
            file.write(json.dumps(line) + "\n")
    left_out = Counter(reason for reason in reasons if reason)
    return PrepareResult(dataset, len(sources) - left_out.total(), dict(left_out))


def split_of(name: str) -> str:
    """`val` for a tenth of all names, always the same ones, else `train`."""
    return "val" if zlib.crc32(name.encode()) % 1000 < VALIDATION_SHARE * 1000 else "train"


def has_round_frame(photo: Image) -> bool:
    """Whether a photo is a round cut-out on a plain page: its four corners are one flat colour."""
    import numpy as np

    side = max(4, min(photo.shape[:2]) // 20)
    corners = np.stack([photo[:side, :side], photo[:side, -side:], photo[-side:, :side], photo[-side:, -side:]])
    return bool(corners.reshape(-1, 3).astype(np.float32).std(axis=0).max() < 1.5)


def _read_splits(index: Path) -> dict[str, str]:
    try:
        with index.open(encoding="utf-8", newline="") as file:
            return {row["file"]: row["split"] for row in csv.DictReader(file)}
    except (OSError, KeyError) as error:
        raise UsageError(
            f"the index {index} cannot be read ({error!r}): it needs the columns file and split"
        ) from error


def _prepare_one(source: Path, label_map: Path | None, dataset: Path) -> str | None:
    """Writes one portrait's files; the reason if it is left out."""
    import cv2
    import numpy as np

    from apdraw_cli.conversion.decode import decode, read
    from apdraw_cli.faces.align import apply, inside_photo, similarity, warp_labels, warp_photo
    from apdraw_cli.faces.detect import TinyRetinaFace
    from apdraw_cli.faces.segment import PortraitSegmenter
    from train import npr

    cv2.setNumThreads(1)
    try:
        photo = decode(read(source))
    except PhotoError as error:
        return error.message
    faces = TinyRetinaFace().detect(photo)
    if not faces:
        return "no face"
    transform = similarity(faces[0].landmarks)
    portrait, endless = warp_photo(photo, transform), warp_photo(photo, transform, replicate=True)
    landmarks = np.rint(apply(transform, faces[0].landmarks)).astype(np.float32)
    if label_map:
        found = cv2.imread(str(label_map), cv2.IMREAD_GRAYSCALE)
        if found is None or found.shape != photo.shape[:2]:
            return "no label map of the photo's size"
        labels = np.asarray(found, np.uint8)
        aligned, endless_labels = warp_labels(labels, transform), warp_labels(labels, transform, replicate=True)
    else:
        aligned = endless_labels = PortraitSegmenter().labels(endless)
    if not (aligned == npr.FACE).any():
        return "no face in the label map"
    # Drawn as if the photo went on beyond its rim, so that the rim leaves no line.
    drawing = np.where(inside_photo(photo.shape, transform) > 0, npr.draw(endless, endless_labels, landmarks), WHITE)
    pictures = {
        "photos": portrait[..., ::-1],
        "labels": aligned,
        "masks": np.where(aligned >= npr.PERSON, WHITE, 0).astype(np.uint8),
        "drawings": drawing.astype(np.uint8),
    }
    for folder, picture in pictures.items():
        cv2.imwrite(str(dataset / folder / f"{source.stem}.png"), picture)
    points = "".join(f"{int(x)} {int(y)}\n" for x, y in landmarks)
    (dataset / "landmarks" / f"{source.stem}.txt").write_text(points, encoding="ascii")
    return ROUND_FRAME if has_round_frame(photo) else None
