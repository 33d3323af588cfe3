"""Makes a training set out of photos: aligned portraits, landmarks, masks, two-tone drawings (sec. 6 of the paper)."""

import csv
import json
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from apdraw_cli.errors import PhotoError, UnfitError, UsageError
from engines.portrait import WHITE, Image

VALIDATION_SHARE: Final = 0.1
"""Share of the photos put aside for validation where no index says which."""

ROUND_FRAME: Final = "round frame"
SAME_NAME: Final = "another photo has this name"

FOLDERS: Final = ("photos", "drawings", "landmarks", "masks", "labels")
"""Of a data set; each holds one file a portrait."""


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
    as left out. Of photos whose names differ only in ending or case, the first is taken. Files that an earlier run
    wrote of a photo that is now left out are removed.

    Args:
        photos: folder of photos.
        dataset: folder to write.
        labels: folder of label maps, `NAME.png` of a photo's size; without it apdraw's own segmenter labels.
        index: CSV file with columns `file` and `split` (`train` or `val`); without it a tenth is put aside.
        workers: processes.

    Raises:
        UsageError: there are no photos or none can be used, a folder or the index cannot be used.
        UnfitError: a file cannot be written.
    """
    import joblib

    from apdraw_cli.conversion.sources import EXTENSIONS

    if not photos.is_dir():
        raise UsageError(f"{photos} is no folder: name one with photos")
    sources = sorted(path for path in photos.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not sources:
        raise UsageError(f"there are no photos in {photos}: name a folder of photos")
    if labels and not labels.is_dir():
        raise UsageError(f"{labels} is no folder: name one with label maps")
    splits = _read_splits(index) if index else {}
    _make_folders(dataset, [photos, labels] if labels else [photos])
    firsts: dict[str, Path] = {}
    for source in sources:
        firsts.setdefault(source.stem.casefold(), source)
    jobs = (
        joblib.delayed(_prepare_one)(source, labels / f"{source.stem}.png" if labels else None, dataset)
        for source in firsts.values()
    )
    found = dict(zip(firsts.values(), joblib.Parallel(n_jobs=workers, batch_size=8)(jobs), strict=True))
    lines = []
    for source in sources:
        reason = found.get(source, SAME_NAME)
        if reason not in (None, ROUND_FRAME, SAME_NAME):
            _remove(source.stem, dataset)
        lines.append(
            {
                "name": source.name if reason == SAME_NAME else source.stem,
                "source": source.name,
                "split": splits.get(source.name) or split_of(source.stem),
                "left_out": reason,
            }
        )
    _write(dataset / "index.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    left_out = Counter(str(line["left_out"]) for line in lines if line["left_out"])
    if left_out.total() == len(sources):
        reason, count = left_out.most_common(1)[0]
        raise UsageError(
            f"none of the {len(sources)} photos in {photos} can be used, {count} for this reason: {reason}; "
            "name a folder of portraits"
        )
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
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the index {index} cannot be read ({error}): name a CSV file in UTF-8") from error
    if not {"file", "split"} <= set(columns):
        raise UsageError(f"the index {index} cannot be used: it needs the columns file and split")
    for row in rows:
        if row["split"] not in ("train", "val"):
            raise UsageError(
                f"the index {index} puts {row['file']} into the split {row['split']!r}: write train or val"
            )
    return {row["file"]: row["split"] for row in rows}


def _make_folders(dataset: Path, sources: list[Path]) -> None:
    for folder in FOLDERS:
        path = dataset / folder
        if path.resolve() in [source.resolve() for source in sources]:
            raise UsageError(f"{path} would be written over: name another folder for the data set")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the data set {dataset} cannot be made ({error.strerror}): name a folder that can be written"
            ) from error


def _file(dataset: Path, folder: str, name: str) -> Path:
    return dataset / folder / f"{name}{'.txt' if folder == 'landmarks' else '.png'}"


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UnfitError(
            f"cannot write {path} ({error.strerror}); make room or name another folder, and start again"
        ) from error


def _remove(name: str, dataset: Path) -> None:
    for folder in FOLDERS:
        path = _file(dataset, folder, name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UnfitError(f"cannot remove {path} of an earlier run ({error.strerror}); remove it") from error


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
        # OpenCV warns of a missing file.
        found = cv2.imread(str(label_map), cv2.IMREAD_GRAYSCALE) if label_map.is_file() else None
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
        _write(_file(dataset, folder, source.stem), cv2.imencode(".png", picture)[1].tobytes())
    points = "".join(f"{int(x)} {int(y)}\n" for x, y in landmarks)
    _write(_file(dataset, "landmarks", source.stem), points.encode("ascii"))
    return ROUND_FRAME if has_round_frame(photo) else None
