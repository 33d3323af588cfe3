"""Many conversions in one run: memory, open files and photos a second must stay level.

    python -m benchmarks.soak PHOTOS OUT [--count 200] [--workers 1]

Links COUNT photos out of those of PHOTOS into OUT/photos, each under many names, converts them into OUT/drawings, and
tells for each tenth of the run how fast it went and what it took. With 20,000 this is the trial that RESULTS.md tells
of.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

import psutil

TENTHS: Final = 10

MOST_GROWTH: Final = 1.15
"""By how much more memory or files the last third of a run may take than the second."""


@dataclass(frozen=True)
class Moment:
    """What a run takes at a moment.

    Attributes:
        seconds: since its start.
        photos: done.
        memory_bytes: of all processes.
        files: open in all processes.
        processes: number of them.
    """

    seconds: float
    photos: int
    memory_bytes: int
    files: int
    processes: int


def link_photos(photos: Path, folder: Path, count: int) -> None:
    """Makes a folder of `count` photos out of the files of another, which are linked, or copied where that fails."""
    found = sorted(path for path in photos.iterdir() if path.is_file() and not path.name.startswith("."))
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = found[number % len(found)]
        name = folder / f"{number:06}-{path.name}"
        if name.exists():
            continue
        try:
            os.link(path, name)
        except OSError:
            shutil.copy(path, name)


def look(process: psutil.Process, start: float, manifest: Path) -> Moment | None:
    """What a run takes now; None if it has ended."""
    try:
        running = [process, *process.children(recursive=True)]
        memory = sum(each.memory_info().rss for each in running)
        files = sum(each.num_fds() for each in running)
    except psutil.Error:
        return None
    photos = manifest.read_bytes().count(b"\n") if manifest.exists() else 0
    return Moment(round(time.monotonic() - start, 1), photos, memory, files, len(running))


def is_level(moments: list[Moment]) -> bool:
    """Whether the last third of a run takes no more memory and files than the second."""
    third = len(moments) // 3
    if not third:
        return True
    second, last = moments[third : 2 * third], moments[2 * third :]
    return all(
        fmean(getattr(each, name) for each in last) <= MOST_GROWTH * fmean(getattr(each, name) for each in second)
        for name in ("memory_bytes", "files")
    )


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    photos, drawings = given.out / "photos", given.out / "drawings"
    link_photos(given.photos, photos, given.count)
    command = [sys.executable, "-m", "apdraw_cli", "convert", str(photos), "-o", str(drawings), "--quiet"]
    start = time.monotonic()
    moments: list[Moment] = []
    with subprocess.Popen([*command, "--workers", str(given.workers)], stderr=subprocess.DEVNULL) as run:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            moment = look(process, start, drawings / "apdraw-manifest.jsonl")
            if moment is not None and moment.photos:  # once it draws
                moments.append(moment)
            time.sleep(1)
    step = max(1, len(moments) // TENTHS)
    before = moments[0] if moments else None
    for moment in moments[step - 1 :: step]:
        speed = (moment.photos - before.photos) / max(moment.seconds - before.seconds, 1e-3) if before else 0.0
        print(json.dumps({**asdict(moment), "photos_per_second": round(speed, 2)}))  # noqa: T201
        before = moment
    sys.exit(not (is_level(moments) and run.returncode in (0, 1)))


if __name__ == "__main__":
    main()
