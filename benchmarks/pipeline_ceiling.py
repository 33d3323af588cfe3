"""How many photos a second a conversion takes with an engine that costs nothing: the ceiling of any GPU.

    python -m benchmarks.pipeline_ceiling [PHOTO ...] [--workers 2] [--photos 2000]

Photos go the whole way of `apdraw convert`, from worker processes to files, but the engine only copies a batch and
hands out drawings that were made before. With PHOTOs they are prepared for real, which shows what the cores can feed.
Without, workers hand out a portrait that was made before, as many more cores would, and what shows is the process that
all photos pass through. The first fifth of the photos, while workers start, and the last, while they end, are not
counted.
"""

import argparse
import functools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import psutil

from apdraw_cli.commands.convert import convert, retinaface_extractor
from apdraw_cli.conversion.executors.malloc import keep_freed_memory
from apdraw_cli.conversion.formats.png import encode_picture
from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.portraits import Extractor
from apdraw_cli.faces.align import IDENTITY
from apdraw_cli.faces.detect import Face
from apdraw_cli.faces.extract import DetectedPortrait
from benchmarks.kernels import tell
from engines.base import GPU_BATCH_SIZE
from engines.portrait import SIZE, Image, Landmarks, Portrait, PortraitBatch
from engines.select import open_engine, shipped_model
from engines.synthetic import synthetic_portraits

LANES = 2
"""Batches at once, as a GPU engine has them."""


@dataclass(frozen=True)
class Ceiling:
    """What a conversion with an engine that costs nothing did.

    Attributes:
        workers: processes that prepared photos.
        photos_per_second: since all was ready.
        main_seconds: of processor time that this process took for a photo, all its threads together.
        worker_seconds: the same of all workers together; their start is left out.
        batch: portraits in a batch, on average.
    """

    workers: int
    photos_per_second: float
    main_seconds: float
    worker_seconds: float
    batch: float


class Ready:
    """An extractor that hands out one portrait for any photo."""

    def __init__(self) -> None:
        made = synthetic_portraits(1)
        face = Face((1.0, 2.0, 3.0, 4.0), 0.9, made.landmarks[0])
        self._found = [DetectedPortrait(face, IDENTITY, Portrait(made.photo[0], made.landmarks[0], made.mask[0]))]

    def extract(
        self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None
    ) -> list[DetectedPortrait]:
        """See `apdraw_cli.conversion.portraits.Extractor`."""
        timings.update(detect=0.0, align=0.0, segment=0.0)
        return self._found


def ready(options: FaceOptions) -> Extractor:
    """Opens a `Ready`, in a worker."""
    return Ready()


class NoCost:
    """An engine that copies what it is given, as one for a GPU does, and hands out a drawing made before."""

    name, device, precision, concurrency, batch_size = "none", "cuda:0", "fp16", LANES, GPU_BATCH_SIZE

    def __init__(self) -> None:
        self._page = _drawing()
        self._turn = threading.Lock()
        self._buffers = [
            {name: np.zeros((GPU_BATCH_SIZE, *array.shape[1:]), array.dtype) for name, array in _one().inputs().items()}
            for _ in range(LANES)
        ]
        self.sizes: list[int] = []

    def draw(self, batch: PortraitBatch) -> Image:
        """See `engines.base.Engine`."""
        with self._turn:
            buffers = self._buffers.pop()
            self.sizes.append(len(batch))
        for name, array in batch.inputs().items():
            buffers[name][: len(batch)] = array
        drawings = np.empty((len(batch), *self._page.shape), np.uint8)
        drawings[:] = self._page
        with self._turn:
            self._buffers.append(buffers)
        return drawings

    def close(self) -> None:
        """Does nothing."""


@functools.cache
def _one() -> PortraitBatch:
    return synthetic_portraits(1)


@functools.cache
def _drawing() -> Image:
    """A drawing that takes as long to encode as most do."""
    from train.samples import sample_portraits

    engine = open_engine(shipped_model(), device="cpu")
    try:
        return engine.draw(sample_portraits())[0]
    finally:
        engine.close()


class _Watch(Silent):
    """Notes clock and processor time when a fifth of the photos is through, and when a fifth is left."""

    def __init__(self, count: int) -> None:
        self._first, self._last = max(1, count // 5), count - count // 5
        self._settled = 0
        self.marks: list[tuple[int, float, float, float]] = []

    def settled(self, outcome: Outcome) -> None:
        """Notes the time."""
        self._settled += 1
        if self._settled in (self._first, self._last):
            self.marks.append((self._settled, time.perf_counter(), *cpu_seconds()))


def cpu_seconds() -> tuple[float, float]:
    """Processor time of this process, and of all processes that it has started."""
    ended = os.times()
    children = ended.children_user + ended.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        children += times.user + times.system
    return time.process_time(), children


def measure(photos: Sequence[Path], workers: int, count: int) -> Ceiling:
    """Converts photos, over and over, with an engine that costs nothing.

    Args:
        photos: to prepare for real, a face in each; none to hand out a portrait made before.
        workers: number of processes.
        count: how many photos to convert.
    """
    keep_freed_memory()  # as the command does
    engine, watch = NoCost(), _Watch(count)
    with tempfile.TemporaryDirectory(prefix="apdraw-ceiling-") as scratch:
        source = Path(scratch) / "photos"
        _fill(source, photos, count)
        convert(
            ConvertOptions.of(str(source), output=Path(scratch) / "out", workers=workers),
            watch,
            open_engine=lambda options, model: engine,
            open_extractor=retinaface_extractor if photos else ready,
        )
    (before, *start), (after, *end) = watch.marks
    seconds, main, in_workers = (late - early for early, late in zip(start, end, strict=True))
    done = after - before
    return Ceiling(workers, done / seconds, main / done, in_workers / done, sum(engine.sizes) / len(engine.sizes))


def _fill(folder: Path, photos: Sequence[Path], count: int) -> None:
    """Makes a folder of so many photos: these over and over, or one small picture."""
    folder.mkdir()
    if photos:
        for number, photo in enumerate(islice(cycle(photos), count)):
            shutil.copy(photo, folder / f"{number:06d}{photo.suffix}")
        return
    first = folder / "000000.png"
    first.write_bytes(encode_picture(np.full((SIZE, SIZE, 3), 90, np.uint8)))
    for number in range(1, count):
        (folder / f"{number:06d}.png").hardlink_to(first)


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline_ceiling")
    parser.add_argument("photos", type=Path, nargs="*", metavar="PHOTO")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--photos", type=int, default=2000, dest="count")
    given = parser.parse_args()
    tell("| workers | photos a second | CPU ms a photo in this process | in workers | portraits in a batch |")
    tell("|---|---|---|---|---|")
    for workers in given.workers:
        found = measure(given.photos, workers, given.count)
        costs = f"{1e3 * found.main_seconds:.2f} | {1e3 * found.worker_seconds:.2f}"
        tell(f"| {workers} | {found.photos_per_second:.1f} | {costs} | {found.batch:.1f} |")


if __name__ == "__main__":
    main()
