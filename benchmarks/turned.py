"""Portraits as they are and turned on their side and head: how many are drawn the wrong way, or not where they were.

    python -m benchmarks.turned PHOTOS [--first 0] [--every 2] [--limit 200] [--turned 50]

PHOTOS are upright. The limits of `apdraw_cli.faces.doubts` were chosen on photos of odd index; the default takes those
of even index. Of the first TURNED of them the three other turns are tried too.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np

from apdraw_cli.conversion.decode import decode_reduced
from apdraw_cli.conversion.portraits import REDUCED_SIDE
from apdraw_cli.faces.align import apply, similarity
from apdraw_cli.faces.doubts import MOST_ROLL, roll
from apdraw_cli.faces.extract import PortraitExtractor
from engines.errors import PhotoError
from engines.portrait import TEMPLATE, WHITE, Image, Landmarks

NEAR: Final = 0.12
"""Eye distances by which landmarks of a turned photo may lie from those of the upright one, on average."""


class AllPerson:
    """A segmenter that takes no time."""

    def mask(self, portrait: Image) -> Image:
        """All of it is person."""
        return np.full(portrait.shape[:2], WHITE, np.uint8)


def landmarks_of(extractor: PortraitExtractor, photo: Image) -> tuple[Landmarks | None, tuple[str, ...]]:
    """The landmarks of the face that would be drawn, None if none would, and the codes of warnings."""
    try:
        (found,) = extractor.extract(photo, {})
    except PhotoError:
        return None, ()
    return found.face.landmarks, tuple(warning.code for warning in found.warnings)


def turned_back(landmarks: Landmarks, turns: int, height: int, width: int) -> Landmarks:
    """Landmarks of a photo turned counterclockwise by quarters, in the photo as it was."""
    x, y = landmarks.T
    points = {1: (width - 1 - y, x), 2: (width - 1 - x, height - 1 - y), 3: (y, height - 1 - x)}[turns]
    return np.stack(points, axis=1)


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turned", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    for name, default in (("first", 0), ("every", 2), ("limit", 200), ("turned", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    extractor = PortraitExtractor(segmenter=AllPerson())
    counts: Counter[str] = Counter()
    paths = sorted(path for path in given.photos.iterdir() if path.is_file())[given.first :: given.every]
    for number, path in enumerate(paths[: given.limit]):
        photo = decode_reduced(path.read_bytes(), REDUCED_SIDE).pixels
        upright, warnings = landmarks_of(extractor, photo)
        counts["upright"] += 1
        counts.update(f"upright, warning {code}" for code in warnings)
        if upright is None or abs(roll(upright)) > MOST_ROLL:
            counts["upright, wrong"] += 1
            print("wrong:", path.name)  # noqa: T201
            continue
        for turns in (1, 2, 3) if number < given.turned else ():
            found, _ = landmarks_of(extractor, np.ascontiguousarray(np.rot90(photo, turns)))
            counts["turned"] += 1
            if found is None:
                counts["turned, not drawn"] += 1
                continue
            transform = similarity(upright)
            difference = apply(transform, turned_back(found, turns, *photo.shape[:2])) - apply(transform, upright)
            far = float(np.linalg.norm(difference, axis=1).mean() / (TEMPLATE[1, 0] - TEMPLATE[0, 0]))
            if far > NEAR:
                counts["turned, elsewhere"] += 1
                print(f"elsewhere: {path.name} turned {90 * turns} degrees: {far:.2f} eye distances")  # noqa: T201
    print(json.dumps(counts, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
