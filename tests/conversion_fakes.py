"""Stand-ins for the face extractor and the engine, so that tests of a conversion are quick; and photos for them.

A photo's brightest value is what its drawing is filled with. A photo that is black has no face; other marks in its top
left pixel make the extractor misbehave.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.conversion.outcome import ConvertResult, Outcome
from apdraw_cli.faces.detect import Face
from apdraw_cli.faces.doubts import PhotoWarning
from apdraw_cli.faces.extract import DetectedPortrait
from engines.errors import EngineError, PhotoError, UnfitError
from engines.options import EngineOptions
from engines.portrait import SIZE, TEMPLATE, Image, Landmarks, Portrait, PortraitBatch

CRASHES = (255, 0, 1)
RAISES = (255, 0, 2)
TWO_FACES = (255, 0, 3)
WARNED = (255, 0, 4)

ENLARGING = np.array([[100.0, 0.0, 50.0], [0.0, 100.0, 50.0]])
"""From pixels of a photo to those of its portrait: the smallest photos fill it."""


class FakeExtractor:
    def __init__(self, options: FaceOptions) -> None:
        self._options = options

    def extract(
        self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None
    ) -> list[DetectedPortrait]:
        timings["detect"] = 0.001
        mark = tuple(int(value) for value in photo[0, 0])
        if mark == CRASHES:
            os.kill(os.getpid(), signal.SIGKILL)
        if mark == RAISES:
            raise RuntimeError("a bug\nwith a second line")
        if photo.max() == 0:
            raise PhotoError("no_face", "no face was found")
        count = 2 if mark == TWO_FACES and self._options.faces == "all" else 1
        if mark == WARNED and self._options.strict:
            raise PhotoError("doubtful", "the face is small")
        warnings = (PhotoWarning("small_face", "the face is small"),) if mark == WARNED else ()
        return [_portrait(int(photo[-1, -1, 0]) + index, landmarks, warnings) for index in range(count)]


def _portrait(value: int, landmarks: Landmarks | None, warnings: tuple[PhotoWarning, ...]) -> DetectedPortrait:
    points = TEMPLATE if landmarks is None else landmarks
    portrait = Portrait(np.full((SIZE, SIZE, 3), value, np.uint8), points.round(), np.full((SIZE, SIZE), 255, np.uint8))
    return DetectedPortrait(Face((1.5, 2.0, 30.0, 40.0), 0.99, points), ENLARGING, portrait, warnings)


def fake_extractor(options: FaceOptions) -> FakeExtractor:
    return FakeExtractor(options)


def unfit_extractor(options: FaceOptions) -> FakeExtractor:
    raise UnfitError("the detector is not installed; install it with: pip install detector")


def broken_extractor(options: FaceOptions) -> FakeExtractor:
    raise OSError("its weights are gone")


@dataclass
class FakeEngine:
    """Fills each drawing with the photo's value; remembers the batches."""

    name: str = "fake"
    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 4
    concurrency: int = 1
    seconds: float = 0.0
    fails_after: int | None = None
    batches: list[int] = field(default_factory=list)
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, batch: PortraitBatch) -> Image:
        with self.lock:
            if self.fails_after is not None and sum(self.batches) >= self.fails_after:
                raise EngineError("the device is gone; use --device cpu")
            self.batches.append(len(batch))
        time.sleep(self.seconds)
        return batch.photo[..., 0].copy()

    def close(self) -> None:
        self.closed = True


class HeldEngine(FakeEngine):
    """Draws nothing before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def draw(self, batch: PortraitBatch) -> Image:
        if not self.let_go.wait(300):
            raise AssertionError("nobody lets the engine go")
        return super().draw(batch)


def engine_opener(engine: FakeEngine) -> Callable[[EngineOptions, Path], FakeEngine]:
    return lambda options, model: engine


def no_engine(options: EngineOptions, model: Path) -> FakeEngine:
    raise AssertionError("the engine was opened although there was nothing to draw")


class Recorder:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.total: int | None = None
        self.workers: int | None = None
        self.stopped = False

    def counted(self, photos: int) -> None:
        self.total = photos

    def engine_ready(self, engine: Any, workers: int) -> None:
        self.workers = workers

    def settled(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def waiting(self) -> None:
        pass

    def stopping(self) -> None:
        self.stopped = True


def save_photo(path: Path, value: int = 100, mark: tuple[int, int, int] | None = None, **options: Any) -> Path:
    """A 16 x 12 photo of one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((12, 16, 3), value, np.uint8)
    if mark is not None:
        pixels[0, 0] = mark
    Pillow.fromarray(pixels).save(path, **options)
    return path


def drawn_value(path: Path) -> int:
    """The value that a drawing is filled with."""
    with Pillow.open(path) as drawing:
        values = np.unique(np.array(drawing.convert("L")))
    if len(values) != 1:
        raise AssertionError(f"{path} is not filled with one value")
    return int(values[0])


def manifest_lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "apdraw-manifest.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


class Desk:
    """A folder of photos, a model, and what it takes to convert the one with the other."""

    def __init__(self, folder: Path) -> None:
        self.photos = folder / "photos"
        self.out = folder / "photos-drawings"
        self.model = folder / "model.onnx"
        self.model.write_bytes(b"a model")
        self.photos.mkdir()
        self.said: dict[str, Any] = {"model": self.model, "workers": 0}

    def convert(
        self,
        drawer: Any = None,
        /,
        *,
        listener: Any = None,
        extractor: Any = fake_extractor,
        stop: threading.Event | None = None,
        **changes: Any,
    ) -> ConvertResult:
        opener = drawer if callable(drawer) else engine_opener(drawer or FakeEngine())
        return convert(
            self.options(**changes),
            listener or Recorder(),
            stop=stop,
            open_engine=opener,
            open_extractor=extractor,
        )

    def options(self, *, sources: tuple[str, ...] | None = None, **changes: Any) -> ConvertOptions:
        return ConvertOptions.of(*((str(self.photos),) if sources is None else sources), **{**self.said, **changes})

    def drawings(self) -> dict[str, int]:
        paths = sorted(path for path in self.out.rglob("*") if path.is_file() and path.suffix != ".jsonl")
        return {path.relative_to(self.out).as_posix(): drawn_value(path) for path in paths}


def codes(result: ConvertResult) -> dict[str, str]:
    return {failure.source: failure.code for failure in result.failures}


def changed(path: Path, value: int) -> None:
    before = path.stat().st_mtime_ns
    save_photo(path, value)
    os.utime(path, ns=(before, before + 1_000_000_000))
