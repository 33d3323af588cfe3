"""The trials of `benchmarks` in short: damaged files of every format, and a run that is looked at while it goes on."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion_fakes import FakeEngine, Recorder, engine_opener, fake_extractor

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.faces.extract import DetectedPortrait
from benchmarks import corpus, soak
from engines.portrait import Image


def test_files_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        corpus.make_corpus(tmp_path / name, 25, seed)
    one, same, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "same", "other")
    )
    assert one == same
    assert one.keys() == other.keys()
    assert one != other


def test_every_format_and_every_mutation_occurs() -> None:
    endings = {name.rpartition(".")[2] for name in corpus.originals()}
    assert {"jpg", "png", "webp", "tif", "bmp", "gif", "jp2"} <= endings


def test_a_flat_tail() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (100, 50, 3)).astype(np.uint8)
    assert corpus.flat_tail(photo) < corpus.FLAT_TAIL
    photo[70:] = 128
    assert corpus.flat_tail(photo) == pytest.approx(0.3)
    assert corpus.flat_tail(np.zeros_like(photo)) == 1


class NoDetector:
    """Takes every photo that can be decoded for a portrait."""

    def extract(self, photo: Image, timings: dict[str, float], landmarks: Any = None) -> list[DetectedPortrait]:
        return fake_extractor(ANY_FACE).extract(np.full((16, 16, 3), 90, np.uint8), timings)


ANY_FACE: Any = ConvertOptions.of().faces


def no_detector(options: Any) -> NoDetector:
    return NoDetector()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_are_accounted_for_and_none_is_drawn_with_a_flat_tail(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    corpus.make_corpus(photos, 120, seed=5)
    model = tmp_path / "model.onnx"
    model.touch()
    options = ConvertOptions.of(str(photos), output=out, model=model, workers=0)
    convert(options, Recorder(), open_engine=engine_opener(FakeEngine()), open_extractor=no_detector)
    found = corpus.judge(photos, out)
    assert found.files == 120
    assert (found.missing, found.faults, found.flat) == ([], [], [])
    assert found.outcomes["done"] > 20
    assert {"damaged", "truncated"} <= found.outcomes.keys()


def test_what_is_missing_or_flat_is_told(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    corpus.make_corpus(photos, 2)
    out.mkdir()
    (out / "apdraw-manifest.jsonl").write_text("")
    assert len(corpus.judge(photos, out).missing) == 2


def moments(memory: Callable[[int], int]) -> list[soak.Moment]:
    return [soak.Moment(float(n), n, memory(n), 20, 2) for n in range(30)]


def test_what_grows_is_not_level() -> None:
    assert soak.is_level(moments(lambda n: 1000 + n))
    assert not soak.is_level(moments(lambda n: 1000 + 100 * n))
    assert soak.is_level([])


def test_photos_are_linked_under_many_names(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "a.jpg").write_bytes(b"a")
    (tmp_path / "few" / "b.jpg").write_bytes(b"b")
    soak.link_photos(tmp_path / "few", tmp_path / "many", 5)
    assert [path.read_bytes() for path in sorted((tmp_path / "many").iterdir())] == [b"a", b"b", b"a", b"b", b"a"]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["corpus", "soak"])
def test_the_programs_run(tmp_path: Path, module: str) -> None:
    samples = [str(corpus.SAMPLES)] if module == "soak" else []
    command = [sys.executable, "-m", f"benchmarks.{module}", *samples, str(tmp_path / "out"), "--count", "12"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
