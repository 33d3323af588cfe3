"""Damaged photos of every format, converted at once: each must be accounted for, and none drawn with a missing part.

    python -m benchmarks.corpus OUT [--count 60] [--seed 0] [--workers 1]

Writes mutated copies of the samples into OUT/photos, the same for the same seed, and converts them into OUT/drawings.
Counted are photos by what became of them; told are those that are missing from the manifest, failed for a fault of
apdraw or killed their worker, and those drawn although a flat end of their picture is missing. With 2,000 files this
is the trial that RESULTS.md tells of.
"""

import argparse
import io
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from PIL import Image as Pillow

from apdraw_cli.conversion.decode import decode
from engines.errors import PhotoError
from engines.portrait import Image

SAMPLES: Final = Path(__file__).resolve().parents[1] / "samples"

SIDE: Final = 384
"""Height of the photos that are mutated, in pixels: large enough for a face, and soon drawn."""

FLAT_TAIL: Final = 0.05
"""Share of a picture's rows, from its end, that may be of one colour; those of the samples are not."""

FAULTS: Final = frozenset(("internal", "worker_died", "time_limit"))
"""Codes of failures that damaged files must not come to."""

Mutation = Callable[[bytes, random.Random], bytes]


@dataclass
class Findings:
    """What became of the files.

    Attributes:
        files: number of them.
        seconds: of the conversion.
        memory_bytes: of all processes together at most.
        outcomes: how many came to which status, or code of failure.
        missing: files that the manifest does not tell of.
        faults: files that failed for a fault of apdraw.
        flat: files drawn whose last rows are of one colour.
    """

    files: int
    seconds: float = 0.0
    memory_bytes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is to be mended."""
        return not (self.missing or self.faults or self.flat)


@cache
def originals() -> dict[str, bytes]:
    """The samples in every format that is read, by a name with its ending."""
    found = {}
    for path in sorted(SAMPLES.glob("*.[jp][pn]g")):
        with Pillow.open(path) as opened:
            photo = opened.convert("RGB")
        photo.thumbnail((SIDE, SIDE))
        for name, picture, file_format, options in _encodings(photo):
            buffer = io.BytesIO()
            try:
                picture.save(buffer, file_format, **options)
            except (OSError, KeyError):  # this build of Pillow does not write it
                continue
            found[f"{path.stem}-{name}"] = buffer.getvalue()
    return found


def _encodings(photo: Pillow.Image) -> Iterator[tuple[str, Pillow.Image, str, dict[str, object]]]:
    deep = Pillow.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    yield "plain.jpg", photo, "JPEG", {"quality": 90}
    yield "progressive.jpg", photo, "JPEG", {"progressive": True}
    yield "grey.jpg", photo.convert("L"), "JPEG", {}
    yield "cmyk.jpg", photo.convert("CMYK"), "JPEG", {}
    yield "restarts.jpg", photo, "JPEG", {"restart_marker_rows": 2}
    yield "rgb.png", photo, "PNG", {}
    yield "palette.png", photo.convert("P"), "PNG", {}
    yield "alpha.png", photo.convert("RGBA"), "PNG", {}
    yield "deep.png", deep, "PNG", {}
    yield "lossy.webp", photo, "WEBP", {}
    yield "lossless.webp", photo, "WEBP", {"lossless": True}
    yield "plain.tif", photo, "TIFF", {}
    yield "lzw.tif", photo, "TIFF", {"compression": "tiff_lzw"}
    yield "deflate.tif", photo, "TIFF", {"compression": "tiff_deflate"}
    yield "jpeg.tif", photo, "TIFF", {"compression": "jpeg"}
    yield "deep.tif", deep, "TIFF", {}
    yield "plain.bmp", photo, "BMP", {}
    yield "plain.gif", photo, "GIF", {}
    yield "plain.avif", photo, "AVIF", {}
    yield "plain.jp2", photo, "JPEG2000", {}


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _cut_a_little(data: bytes, chance: random.Random) -> bytes:
    return data[: len(data) - chance.randrange(1, 64)]


def _flip_bits(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 4, 32))):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _spoil_the_head(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        changed[chance.randrange(min(len(data), 256))] = chance.randrange(256)
    return bytes(changed)


def _blank(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    length = min(chance.randrange(1, 4096), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def _lose(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 4096) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[max(0, start - chance.randrange(1, 4096)) :]


def _lengthen(data: bytes, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.randrange(1, 4096))


def _keep(data: bytes, chance: random.Random) -> bytes:
    return data


MUTATIONS: Final[dict[str, Mutation]] = {
    "cut": _cut,
    "cut-a-little": _cut_a_little,
    "bits": _flip_bits,
    "head": _spoil_the_head,
    "blank": _blank,
    "lost": _lose,
    "repeated": _repeat,
    "longer": _lengthen,
    "whole": _keep,
}


def make_corpus(folder: Path, count: int, seed: int = 0) -> None:
    """Writes mutated files into a folder: formats and mutations in turn, places and values by chance."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = originals()
    chance = random.Random(seed)
    names, mutations = sorted(whole), sorted(MUTATIONS)
    for number in range(count):
        name, mutation = names[number % len(names)], mutations[number // len(names) % len(mutations)]
        stem, _, ending = name.rpartition(".")
        data = MUTATIONS[mutation](whole[name], chance)
        (folder / f"{number:05}-{stem}-{mutation}.{ending}").write_bytes(data)


def flat_tail(pixels: Image) -> float:
    """Share of a picture's rows, counted from its last, that are all of one colour; uint8 [H, W, 3]."""
    last = pixels[-1, -1].astype(int)
    same = (np.abs(pixels.astype(int) - last).max(axis=(1, 2)) <= 2)[::-1]
    return float(len(same) if same.all() else same.argmin()) / len(same)


def judge(photos: Path, drawings: Path) -> Findings:
    """What a manifest tells of a folder of photos."""
    paths = sorted(photos.iterdir())
    found = Findings(len(paths))
    lines = {}
    for line in (drawings / "apdraw-manifest.jsonl").read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        lines[told["source"]] = told
    outcomes: Counter[str] = Counter()
    for path in paths:
        told = lines.get(path.name)
        if told is None:
            found.missing.append(path.name)
            continue
        code = told["error"]["code"] if told["error"] else told["status"]
        outcomes[code] += 1
        if code in FAULTS:
            found.faults.append(f"{path.name}: {told['error']['message']}")
        elif told["status"] == "done" and _ends_flat(path):
            found.flat.append(path.name)
    found.outcomes = dict(outcomes.most_common())
    return found


def _ends_flat(path: Path) -> bool:
    try:
        return flat_tail(decode(path.read_bytes())) > FLAT_TAIL
    except PhotoError:
        return False


def most_memory(process: "subprocess.Popen[bytes]", stopped: threading.Event) -> int:
    """Bytes of memory that a process and those that it started take at most, shared ones counted once each."""
    most = 0
    parent = psutil.Process(process.pid)
    while not stopped.wait(0.5):
        total = 0
        try:
            for each in (parent, *parent.children(recursive=True)):
                total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        most = max(most, total)
    return most


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    photos, drawings = given.out / "photos", given.out / "drawings"
    make_corpus(photos, given.count, given.seed)
    command = [sys.executable, "-m", "apdraw_cli", "convert", str(photos), "-o", str(drawings), "--quiet"]
    start = time.monotonic()
    stopped = threading.Event()
    memory = [0]
    with subprocess.Popen([*command, "--workers", str(given.workers)], stderr=subprocess.DEVNULL) as process:
        watch = threading.Thread(target=lambda: memory.append(most_memory(process, stopped)))
        watch.start()
        process.wait()
        stopped.set()
        watch.join()
    found = judge(photos, drawings)
    found.seconds, found.memory_bytes = round(time.monotonic() - start, 1), max(memory)
    print(json.dumps(asdict(found), indent=1))  # noqa: T201
    sys.exit(not (found.is_good and process.returncode in (0, 1)))


if __name__ == "__main__":
    main()
