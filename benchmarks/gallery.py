"""Pictures to judge drawings by, and what can be measured of them without a reference.

    python -m benchmarks.gallery draw DATASET MODEL DRAWINGS
    python -m benchmarks.gallery sheet DATASET OUT DRAWINGS [DRAWINGS ...]
    python -m benchmarks.gallery blind DATASET OUT DRAWINGS_A DRAWINGS_B [--seed 0]
    python -m benchmarks.gallery verdicts OUT
    python -m benchmarks.gallery measure DATASET DRAWINGS
    python -m benchmarks.gallery robustness PHOTOS OUT [--model MODEL]

DATASET is a prepared data set: any folder of photos becomes one by `apdraw prepare FOLDER DATASET --npr`. DRAWINGS is
a folder with a drawing for each portrait, named like it: what `draw` writes, or DATASET/drawings, the teacher's. Where
a data set is named, `--split` chooses its portraits, `val` unless told.

`blind` writes pages of numbered rows, photo and two drawings in random order, and `key.json`, not to be looked at.
Judge row by row into OUT/verdicts.csv: number, `left`, `right` or `same`, and why. `verdicts` opens the key and counts.

`robustness` draws photos also at half and at double size, as JPEG of quality 30, and turned by 5 degrees, the whole way
of `apdraw convert`, and tells how far each drawing is from that of the photo as it is.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np

from engines.portrait import WHITE, Image, PortraitBatch
from engines.select import open_engine
from train.contact_sheet import Row, contact_sheet
from train.data.pairs import PortraitPairs
from train.evaluation import metrics as measures
from train.npr.quality import eye_ink

CELL = 384
ROWS = 4


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery")
    commands = parser.add_subparsers(required=True)

    def command(function: Callable[[argparse.Namespace], None], *names: str) -> argparse.ArgumentParser:
        made = commands.add_parser(function.__name__)
        made.set_defaults(function=function)
        for name in names:
            made.add_argument(name, type=Path)
        return made

    command(draw, "dataset", "model", "drawings").add_argument("--split", default="val")
    added = command(sheet, "dataset", "out")
    added.add_argument("drawings", type=Path, nargs="+")
    added.add_argument("--split", default="val")
    added = command(blind, "dataset", "out", "one", "other")
    added.add_argument("--split", default="val")
    added.add_argument("--seed", type=int, default=0)
    command(verdicts, "out")
    command(measure, "dataset", "drawings").add_argument("--split", default="val")
    command(robustness, "photos", "out").add_argument("--model", type=Path)
    given = parser.parse_args()
    given.function(given)


def draw(given: argparse.Namespace) -> None:
    """Draws the portraits of a split with a model, on the engine that `apdraw convert` would take."""
    pairs = PortraitPairs(given.dataset, given.split)
    given.drawings.mkdir(parents=True, exist_ok=True)
    engine = open_engine(given.model)
    try:
        for name, portrait in zip(pairs.names, (pairs[index].portrait() for index in range(len(pairs))), strict=True):
            (drawing,) = engine.draw(PortraitBatch.of([portrait]))
            cv2.imwrite(str(given.drawings / f"{name}.png"), drawing)
    finally:
        engine.close()


def sheet(given: argparse.Namespace) -> None:
    """Writes pages of photo and drawings side by side."""
    pairs = PortraitPairs(given.dataset, given.split)
    rows = []
    for index, name in enumerate(pairs.names):
        drawings = [_read(folder, name) for folder in given.drawings]
        rows.append(Row(name, [pairs[index].portrait().photo, *drawings]))
    _pages(given.out, rows)


def blind(given: argparse.Namespace) -> None:
    """Writes pages of unlabelled pairs in random order, and the key to them."""
    pairs = PortraitPairs(given.dataset, given.split)
    random = np.random.default_rng(given.seed)
    rows, key = [], []
    for number, index in enumerate(random.permutation(len(pairs))):
        name = pairs.names[index]
        swapped = bool(random.integers(2))
        folders = [given.other, given.one] if swapped else [given.one, given.other]
        drawings = [_read(folder, name) for folder in folders]
        rows.append(Row(str(number), [pairs[int(index)].portrait().photo, *drawings]))
        key.append({"number": number, "name": name, "left": str(folders[0]), "right": str(folders[1])})
    _pages(given.out, rows)
    (given.out / "key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")


def verdicts(given: argparse.Namespace) -> None:
    """Counts which drawings were preferred."""
    key = {entry["number"]: entry for entry in json.loads((given.out / "key.json").read_text(encoding="utf-8"))}
    counts: Counter[str] = Counter()
    with (given.out / "verdicts.csv").open(encoding="utf-8", newline="") as lines:
        for number, verdict, *_ in csv.reader(lines):
            counts["same" if verdict == "same" else key[int(number)][verdict]] += 1
    total = sum(counts.values())
    for name, count in counts.most_common():
        _tell(f"{name}: {count} of {total}, {count / total:.0%}")


def measure(given: argparse.Namespace) -> None:
    """Tells background, two-tone share, smudges and eyes of drawings, and which are the worst."""
    pairs = PortraitPairs(given.dataset, given.split)
    found: dict[str, list[float]] = {"background": [], "two-tone": [], "smudge": [], "eye": []}
    for index, name in enumerate(pairs.names):
        portrait, drawing = pairs[index].portrait(), _read(given.drawings, name)
        background = measures.background_brightness(drawing, portrait.mask)
        found["background"].append(float(WHITE) if background is None else background)
        found["two-tone"].append(measures.two_tone_share(drawing))
        found["smudge"].append(measures.largest_smudge(drawing))
        found["eye"].append(min(eye_ink(drawing, portrait.landmarks)))
    for what, values, worst, wanted in (
        ("mean grey level outside the person", found["background"], min, lambda v: v > 250),
        ("share of two-tone pixels", found["two-tone"], min, lambda v: v >= 0.93),
        ("largest grey spot, share of the picture", found["smudge"], max, lambda v: v <= 0.01),
        ("black around the fainter eye", found["eye"], min, lambda v: v > 0.03),
    ):
        extreme = worst(values)
        missed = [name for name, value in zip(pairs.names, values, strict=True) if not wanted(value)]
        _tell(
            f"{what}: {fmean(values):.4f} on average, {extreme:.4f} at worst ({pairs.names[values.index(extreme)]}); "
            f"{len(missed)} of {len(values)} short of the goal: {', '.join(missed) or 'none'}"
        )


def robustness(given: argparse.Namespace) -> None:
    """Tells how far drawings of altered photos are from those of the photos themselves."""
    photos = {path.stem: path for path in sorted(given.photos.iterdir()) if path.is_file()}
    variants: dict[str, Callable[[Image], Image]] = {
        "as it is": lambda photo: photo,
        "half size": lambda photo: cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "double size": lambda photo: cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
        "JPEG quality 30": lambda photo: photo,
        "turned by 5 degrees": _turned,
    }
    folders = {}
    for number, (variant, alter) in enumerate(variants.items()):
        source = given.out / f"photos-{number}"
        folders[variant] = given.out / f"drawings-{number}"
        source.mkdir(parents=True, exist_ok=True)
        for name, path in photos.items():
            photo = cv2.imread(str(path))
            if photo is None:
                continue
            if variant == "JPEG quality 30":
                cv2.imwrite(str(source / f"{name}.jpg"), alter(photo), [cv2.IMWRITE_JPEG_QUALITY, 30])
            else:
                cv2.imwrite(str(source / f"{name}.png"), alter(photo), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        command = [sys.executable, "-m", "apdraw_cli", "convert", source, "--output", folders[variant], "--quiet"]
        command += ["--existing", "overwrite"]
        subprocess.run([*command, "--model", given.model] if given.model else command, check=False)
    first = folders.pop("as it is")
    for variant, folder in folders.items():
        distances, similarities, agreements, missing = [], [], [], 0
        for drawing in sorted(first.glob("*.png")):
            if not (folder / drawing.name).exists():
                missing += 1
                continue
            one, other = _read(first, drawing.stem), _read(folder, drawing.stem)
            distances.append(measures.chamfer_distance(other, one))
            similarities.append(measures.ssim(other, one))
            agreements.append(_agreement(one, other))
        _tell(
            f"{variant}: Chamfer {fmean(distances):.2f} px, SSIM {fmean(similarities):.3f}, black within 2 px of black "
            f"{fmean(agreements):.1%} (worst {min(agreements):.1%}), {missing} without a face"
        )
    rows = []
    for drawing in sorted(first.glob("*.png")):
        rest = [_read(folder, drawing.stem) for folder in folders.values() if (folder / drawing.name).exists()]
        if len(rest) == len(folders):
            rows.append(Row(drawing.stem, [_read(first, drawing.stem), *rest]))
    _pages(given.out, rows)


def _agreement(one: Image, other: Image) -> float:
    """The share of black pixels of two drawings with a black one of the other no more than 2 pixels away."""
    near = np.ones((5, 5), np.uint8)
    black, other_black = ((picture <= measures.BINARY_THRESHOLD).astype(np.uint8) for picture in (one, other))
    met = (black & cv2.dilate(other_black, near)).sum() + (other_black & cv2.dilate(black, near)).sum()
    return float(met / max(int(black.sum()) + int(other_black.sum()), 1))


def _turned(photo: Image) -> Image:
    height, width = photo.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 5, 1)
    return np.asarray(cv2.warpAffine(photo, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _read(folder: Path, name: str) -> Image:
    drawing = cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    if drawing is None:
        raise SystemExit(f"{folder / name}.png cannot be read: draw it first")
    return np.asarray(drawing, np.uint8)


def _pages(out: Path, rows: Sequence[Row]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for page in range(0, len(rows), ROWS):
        path = out / f"page-{page // ROWS:02}.png"
        sheet = contact_sheet(rows[page : page + ROWS], CELL, columns=1)
        cv2.imwrite(str(path), sheet[..., ::-1])
    _tell(f"{-(-len(rows) // ROWS)} pages in {out}")


def _tell(text: str) -> None:
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
