"""A conversion from photos to drawings and manifest, with quick stand-ins for the faces and the generator."""

import errno
import json
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import (
    CRASHES,
    RAISES,
    TWO_FACES,
    WARNED,
    FakeEngine,
    FakeExtractor,
    Recorder,
    drawn_value,
    engine_opener,
    fake_extractor,
    manifest_lines,
    no_engine,
    save_photo,
    unfit_extractor,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from apdraw_cli.commands.convert import Plan, convert
from apdraw_cli.conversion.formats.mark import is_drawing
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.conversion.outcome import ConvertResult, Outcome
from apdraw_cli.conversion.storage import LocalStorage
from apdraw_cli.own_process import stop_requests
from engines.errors import EngineError, OptionsError, UnfitError, UsageError
from engines.options import EngineOptions
from engines.tensorrt.cuda import Gpu


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


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def codes(result: ConvertResult) -> dict[str, str]:
    return {failure.source: failure.code for failure in result.failures}


def test_a_tree_of_photos_becomes_a_tree_of_drawings(desk: Desk) -> None:
    for number in range(11):
        save_photo(desk.photos / f"{number % 3}" / f"p{number}.png", 10 + number)
    engine = FakeEngine()
    recorder = Recorder()
    result = desk.convert(engine, listener=recorder)
    assert desk.drawings() == {f"{number % 3}/p{number}.png": 10 + number for number in range(11)}
    assert (result.done, result.drawings, result.photos, result.exit_code) == (11, 11, 11, 0)
    assert (result.engine, result.device, result.precision) == ("fake", "cpu", "fp32")
    assert result.output == desk.out
    assert result.manifest == desk.out / "apdraw-manifest.jsonl"
    assert engine.closed
    assert max(engine.batches) <= engine.batch_size
    assert sum(engine.batches) == 11
    assert {line["source"]: line["outputs"] for line in manifest_lines(desk.out)} == {
        f"{number % 3}/p{number}.png": [f"{number % 3}/p{number}.png"] for number in range(11)
    }
    assert recorder.total in (11, None)


def test_many_photos_through_workers_and_several_drawing_threads(desk: Desk) -> None:
    for number in range(40):
        save_photo(desk.photos / f"p{number}.png", 10 + number)
    recorder = Recorder()
    result = desk.convert(FakeEngine(concurrency=3, batch_size=3, seconds=0.01), listener=recorder, workers=None)
    assert result.done == 40
    assert recorder.workers is not None
    assert recorder.workers > 0
    assert desk.drawings() == {f"p{number}.png": 10 + number for number in range(40)}


def test_few_photos_need_no_workers(desk: Desk) -> None:
    for number in range(4):
        save_photo(desk.photos / f"p{number}.png")
    recorder = Recorder()
    assert desk.convert(listener=recorder, workers=None).done == 4
    assert recorder.workers == 0


def test_what_cannot_be_drawn_is_told_and_the_rest_is_drawn(desk: Desk) -> None:
    save_photo(desk.photos / "good.png", 60)
    save_photo(desk.photos / "no-face.png", 0)
    save_photo(desk.photos / "bug.png", mark=RAISES)
    (desk.photos / "empty.jpg").touch()
    (desk.photos / "text.jpg").write_text("a letter")
    jpeg = save_photo(desk.photos / "cut.jpg").read_bytes()
    (desk.photos / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    save_photo(desk.photos / "x.jpg" / "in-a-folder.png", 61)
    result = desk.convert()
    assert desk.drawings() == {"good.png": 60, "x.jpg/in-a-folder.png": 61}
    assert codes(result) == {
        "bug.png": "internal",
        "cut.jpg": "truncated",
        "empty.jpg": "empty",
        "no-face.png": "no_face",
        "text.jpg": "not_an_image",
    }
    assert (result.done, result.no_face, result.failed, result.exit_code) == (2, 1, 4, 1)
    lines = {line["source"]: line for line in manifest_lines(desk.out)}
    assert lines["no-face.png"]["status"] == "no_face"
    assert lines["cut.jpg"]["status"] == "failed"
    assert lines["cut.jpg"]["engine"] is None


def test_a_photo_that_kills_its_worker_costs_only_itself(desk: Desk) -> None:
    for number in range(8):
        save_photo(desk.photos / f"p{number}.png", 10 + number)
    save_photo(desk.photos / "p3x.png", mark=CRASHES)
    result = desk.convert(workers=1)
    assert codes(result) == {"p3x.png": "worker_died"}
    assert desk.drawings() == {f"p{number}.png": 10 + number for number in range(8)}


class OutOfMemory(FakeExtractor):
    def extract(self, photo: Any, timings: Any, landmarks: Any = None) -> Any:
        if photo.shape[0] == 512:  # not the small one that it is tried on
            raise MemoryError
        return super().extract(photo, timings, landmarks)


def test_want_of_memory_for_all_photos_is_the_machines_fault_and_not_remembered(desk: Desk) -> None:
    for number in range(2):
        Pillow.new("RGB", (512, 512), (9, 9, 9)).save(desk.photos / f"p{number}.png")
    result = desk.convert(extractor=OutOfMemory)
    assert set(codes(result).values()) == {"out_of_memory"}
    assert (result.exit_code, result.remembered) == (3, 0)
    assert "memory" in str(result.error)
    save_photo(desk.photos / "good.png", 10)
    again = desk.convert(extractor=OutOfMemory)
    assert (again.done, again.failed, again.remembered, again.exit_code) == (1, 2, 0, 1)
    assert desk.convert().remembered == 0


def test_the_second_run_draws_nothing(desk: Desk) -> None:
    for number in range(3):
        save_photo(desk.photos / f"p{number}.png")
    save_photo(desk.photos / "no-face.png", 0)
    (desk.photos / "empty.jpg").touch()
    desk.convert()
    before = (desk.out / "apdraw-manifest.jsonl").read_bytes()
    result = desk.convert(no_engine)
    assert (result.done, result.skipped, result.no_face, result.failed) == (0, 3, 1, 1)
    assert (result.remembered, result.engine, result.exit_code) == (2, None, 1)
    assert codes(result) == {"empty.jpg": "empty", "no-face.png": "no_face"}
    assert (desk.out / "apdraw-manifest.jsonl").read_bytes() == before


def test_what_was_moved_with_its_drawings_is_still_up_to_date(desk: Desk, tmp_path: Path) -> None:
    save_photo(desk.photos / "p.png")
    desk.convert()
    (tmp_path / "moved").mkdir()
    desk.photos.rename(tmp_path / "moved" / "photos")
    result = desk.convert(no_engine, sources=(str(tmp_path / "moved" / "photos"),), output=desk.out)
    assert result.skipped == 1


def changed(path: Path, value: int) -> None:
    before = path.stat().st_mtime_ns
    save_photo(path, value)
    os.utime(path, ns=(before, before + 1_000_000_000))


def test_a_changed_photo_is_drawn_again(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    save_photo(desk.photos / "q.png", 41)
    desk.convert()
    changed(desk.photos / "p.png", 42)
    result = desk.convert()
    assert (result.done, result.skipped) == (1, 1)
    assert desk.drawings() == {"p.png": 42, "q.png": 41}


@pytest.mark.parametrize(
    "change",
    [
        {"min_face": 3},
        {"faces": "all"},
        {"detector": "retinaface-resnet50"},
        {"aligned": True},
        {"format": "webp"},
        {"strict": True},
    ],
    ids=["min-face", "faces", "detector", "aligned", "format", "strict"],
)
def test_other_options_draw_again_and_try_again(desk: Desk, change: dict[str, Any]) -> None:
    save_photo(desk.photos / "p.png")
    save_photo(desk.photos / "no-face.png", 0)
    desk.convert()
    result = desk.convert(**change)
    assert (result.done, result.remembered) == (1, 0)


@pytest.mark.parametrize(
    "change",
    [{"engine": "torch"}, {"device": "cpu"}, {"precision": "fp32"}, {"batch_size": 1}, {"workers": 1}],
    ids=lambda change: next(iter(change)),
)
def test_options_that_change_no_drawing_draw_nothing(desk: Desk, change: dict[str, Any]) -> None:
    save_photo(desk.photos / "p.png")
    desk.convert()
    assert desk.convert(no_engine, **change).skipped == 1


def test_another_model_draws_again_but_looks_for_no_faces_again(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    save_photo(desk.photos / "no-face.png", 0)
    desk.convert()
    desk.model.write_bytes(b"another model")
    result = desk.convert()
    assert (result.done, result.remembered) == (1, 1)


def test_a_missing_or_emptied_drawing_is_drawn_again(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    save_photo(desk.photos / "q.png", 41)
    desk.convert()
    (desk.out / "p.png").unlink()
    (desk.out / "q.png").write_bytes(b"")
    assert desk.convert().done == 2
    assert desk.drawings() == {"p.png": 40, "q.png": 41}


def test_corrected_landmarks_draw_again(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    aligned = {"aligned": True}
    desk.convert(**aligned)
    (desk.photos / "p.txt").write_text("1 2\n" * 5)
    assert desk.convert(**aligned).done == 1
    assert desk.convert(no_engine, **aligned).skipped == 1


def test_retry_failed(desk: Desk) -> None:
    save_photo(desk.photos / "no-face.png", 0)
    (desk.photos / "empty.jpg").touch()
    desk.convert()
    result = desk.convert(retry_failed=True)
    assert (result.no_face, result.failed, result.remembered) == (1, 1, 0)


def test_a_failure_that_lies_not_in_the_photo_is_tried_again(desk: Desk) -> None:
    save_photo(desk.photos / "a" / "p.png", 40)
    desk.out.mkdir()
    (desk.out / "a").write_text("a file where a folder should be")
    assert codes(desk.convert()) == {"a/p.png": "write_failed"}
    (desk.out / "a").unlink()
    assert desk.convert().done == 1


def test_overwrite_draws_all_again(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    desk.convert()
    assert desk.convert(existing="overwrite").done == 1


def test_existing_drawings_as_errors(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    desk.convert()
    save_photo(desk.photos / "q.png", 41)
    result = desk.convert(existing="error")
    assert codes(result) == {"p.png": "exists"}
    assert (result.done, result.exit_code) == (1, 1)
    assert desk.convert(no_engine).skipped == 2


def test_all_faces_of_a_photo(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40, TWO_FACES)
    save_photo(desk.photos / "p.2.png", 50)
    result = desk.convert(faces="all")
    assert desk.drawings() == {"p.png": 40, "p.2.png": 41, "p.2.png.png": 50}
    assert (result.done, result.drawings) == (2, 3)
    lines = {line["source"]: line for line in manifest_lines(desk.out)}
    assert lines["p.png"]["outputs"] == ["p.png", "p.2.png"]
    assert len(lines["p.png"]["faces"]) == 2


def test_all_faces_on_the_photos_page_and_an_overview(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 100, TWO_FACES)
    told = {"faces": "all", "place": "photo"}
    assert desk.convert(**told, overview=True).drawings == 2
    (line,) = manifest_lines(desk.out)
    assert line["outputs"] == ["p.png", "p.overview.jpg"]
    assert len(line["faces"]) == len(line["transform"]) == 2
    with Pillow.open(desk.out / "p.png") as page, Pillow.open(desk.out / "p.overview.jpg") as overview:
        assert (page.size, page.mode) == ((16, 12), "L")
        assert (overview.size, overview.mode) == ((16, 12), "RGB")
    for name in line["outputs"]:
        with (desk.out / name).open("rb") as file:
            assert is_drawing(file)  # and no photo to be drawn
    assert desk.convert(**told, overview=True).skipped == 1
    result = desk.convert(**told, prune=True)
    assert (result.done, result.pruned) == (1, 1)
    assert not (desk.out / "p.overview.jpg").exists()


def test_pages_over_the_photo_are_in_colour(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 100, (0, 200, 0))
    assert desk.convert(place="photo", over="photo", format="jpg").done == 1
    with Pillow.open(desk.out / "p.jpg") as page:
        assert (page.size, page.mode) == ((16, 12), "RGB")
    with (desk.out / "p.jpg").open("rb") as file:
        assert is_drawing(file)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"over": "photo"}, "needs --place photo"),
        ({"over": "photo", "place": "photo", "format": "svg"}, "svg holds lines only"),
        ({"over": "photo", "place": "photo", "two_tone": True}, "contradict"),
        ({"overview": True}, "add --faces all"),
        ({"place": "photo", "aligned": True}, "leave out --place photo"),
        ({"faces": "0"}, "faces must be largest, all, or numbers"),
        ({"faces": "1,2", "aligned": True}, "leave out --aligned"),
    ],
)
def test_pages_that_make_no_sense_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionsError, match=told):
        ConvertOptions.of("photos", **options)


def test_warnings_are_kept_in_the_manifest(desk: Desk) -> None:
    save_photo(desk.photos / "good.png", 40)
    save_photo(desk.photos / "small.png", 50, WARNED)
    listener = Recorder()
    result = desk.convert(listener=listener)
    assert (result.done, result.warned, result.exit_code) == (2, 1, 0)
    lines = {line["source"]: line["warnings"] for line in manifest_lines(desk.out)}
    assert lines == {"good.png": [], "small.png": [{"code": "small_face", "message": "the face is small"}]}
    assert desk.convert(no_engine).warned == 0  # told once


def test_strict_is_another_way_to_draw_and_remembers_what_it_refused(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    save_photo(desk.photos / "small.png", 50, WARNED)
    desk.convert()
    result = desk.convert(strict=True)
    assert (result.done, codes(result)) == (1, {"small.png": "doubtful"})
    assert [line["source"] for line in manifest_lines(desk.out) if line["error"]] == ["small.png"]
    assert desk.convert(no_engine, strict=True).remembered == 1


def test_drawings_of_faces_that_are_gone_go_too(desk: Desk) -> None:
    every_face = {"faces": "all"}
    save_photo(desk.photos / "p.png", 40, TWO_FACES)
    desk.convert(**every_face)
    assert desk.drawings() == {"p.png": 40, "p.2.png": 41}
    changed(desk.photos / "p.png", 60)
    desk.convert(**every_face)
    assert desk.drawings() == {"p.png": 60}


def test_drawings_made_with_other_options_stay(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    desk.convert()
    desk.convert(format="tiff")
    assert desk.drawings() == {"p.png": 40, "p.tiff": 40}


def test_a_new_photo_of_the_same_name_moves_the_drawing(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    desk.convert()
    save_photo(desk.photos / "p.bmp", 41)
    desk.convert()
    assert desk.drawings() == {"p.bmp.png": 41, "p.png.png": 40}
    assert desk.convert(no_engine).skipped == 2


def test_photos_of_another_folder_do_not_replace_drawings(desk: Desk, tmp_path: Path) -> None:
    save_photo(desk.photos / "p.png", 40)
    desk.convert()
    other = save_photo(tmp_path / "other" / "p.png", 50).parent
    os.utime(other / "p.png", ns=(1, 1))
    result = desk.convert(no_engine, sources=(str(other),), output=desk.out)
    assert codes(result) == {"p.png": "name_taken"}
    assert str(desk.photos) in result.failures[0].message
    assert desk.drawings() == {"p.png": 40}
    assert desk.convert(no_engine).skipped == 1
    result = desk.convert(sources=(str(other),), output=desk.out, existing="overwrite")
    assert desk.drawings() == {"p.png": 50}


def test_a_photo_named_alone_does_not_replace_the_drawing_of_its_neighbour(desk: Desk) -> None:
    first = save_photo(desk.photos / "p.bmp", 40)
    second = save_photo(desk.photos / "p.png", 50)
    desk.convert(sources=(str(first),), output=desk.out)
    assert codes(desk.convert(no_engine, sources=(str(second),), output=desk.out)) == {"p.png": "name_taken"}
    assert desk.drawings() == {"p.png": 40}
    first.unlink()
    assert desk.convert(sources=(str(second),), output=desk.out).done == 1
    assert desk.drawings() == {"p.png": 50}


def test_a_photo_of_the_same_name_size_and_time_elsewhere_is_another_photo(desk: Desk, tmp_path: Path) -> None:
    save_photo(desk.photos / "p.bmp", 40)
    other = save_photo(tmp_path / "other" / "p.bmp", 50)
    for path in (desk.photos / "p.bmp", other):
        os.utime(path, ns=(1, 1))
    desk.convert()
    result = desk.convert(no_engine, sources=(str(other.parent),), output=desk.out)
    assert codes(result) == {"p.bmp": "name_taken"}
    assert desk.drawings() == {"p.png": 40}


def test_a_folder_that_was_moved_is_known(desk: Desk, tmp_path: Path) -> None:
    save_photo(desk.photos / "p.bmp", 40)
    desk.convert()
    moved = desk.photos.rename(tmp_path / "moved")
    assert desk.convert(no_engine, sources=(str(moved),), output=desk.out).skipped == 1


def test_files_of_the_user_are_never_replaced(desk: Desk) -> None:
    save_photo(desk.photos / "p.jpg", 40)
    save_photo(desk.out / "p.png", 90)
    for existing in ("skip", "overwrite"):
        assert codes(desk.convert(existing=existing)) == {"p.jpg": "name_taken"}
        assert desk.drawings() == {"p.png": 90}


def test_a_photo_is_never_replaced_by_its_drawing(desk: Desk) -> None:
    photo = save_photo(desk.photos / "p.png", 40)
    before = photo.read_bytes()
    result = desk.convert(sources=(str(photo),), output=desk.photos, existing="overwrite")
    assert codes(result) == {"p.png": "name_taken"}
    assert photo.read_bytes() == before


def test_drawings_without_a_manifest_are_made_again(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    desk.convert()
    (desk.out / "apdraw-manifest.jsonl").unlink()
    assert desk.convert().done == 1


def test_a_manifest_torn_by_a_crash_costs_one_photo(desk: Desk) -> None:
    for number in range(4):
        save_photo(desk.photos / f"p{number}.png")
    desk.convert()
    path = desk.out / "apdraw-manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    result = desk.convert()
    assert (result.done, result.skipped) == (1, 3)
    assert desk.convert(no_engine).skipped == 4


def test_a_folder_without_photos_leaves_no_output_folder(desk: Desk) -> None:
    (desk.photos / "notes.txt").write_text("none here")
    result = desk.convert(no_engine)
    assert (result.photos, result.exit_code) == (0, 0)
    assert not desk.out.exists()


def test_missing_photos_of_a_list_fail(desk: Desk) -> None:
    photo = save_photo(desk.photos / "p.png", 40)
    result = desk.convert(sources=(), listed=(str(photo), str(desk.photos / "none.png")))
    assert codes(result) == {"none.png": "not_found"}
    assert result.done == 1


def test_photos_turned_by_exif_are_upright(desk: Desk) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    picture = Pillow.new("RGB", (16, 12), (10, 10, 10))
    picture.putpixel((15, 0), (200, 200, 200))  # the top right corner comes to lie at the bottom right
    desk.photos.joinpath("p.png").parent.mkdir(exist_ok=True)
    picture.save(desk.photos / "p.png", exif=exif)
    desk.convert()
    assert desk.drawings() == {"p.png": 200}


def test_names_in_any_script(desk: Desk) -> None:
    names = ["Zoë", "日本", "a b", "100%", "'", "ß"]
    for number, name in enumerate(names):
        save_photo(desk.photos / f"{name}.png", 10 + number)
    desk.convert(workers=1)
    assert desk.drawings() == {f"{name}.png": 10 + number for number, name in enumerate(names)}


def test_an_engine_that_fails_ends_it_and_keeps_what_is_done(desk: Desk) -> None:
    for number in range(30):
        save_photo(desk.photos / f"p{number:02}.png", 10 + number)
    result = desk.convert(FakeEngine(fails_after=8, batch_size=2))
    assert result.exit_code == 3
    assert result.error == "the device is gone; use --device cpu"
    assert result.done == len(desk.drawings()) >= 8
    done = desk.convert()
    assert done.exit_code == 0
    assert done.skipped == result.done
    assert len(desk.drawings()) == 30


def test_an_engine_that_cannot_be_opened(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")

    def cannot(options: EngineOptions, model: Path) -> FakeEngine:
        raise EngineError("there is no GPU here; use --device cpu")

    result = desk.convert(cannot)
    assert (result.exit_code, result.error) == (3, "there is no GPU here; use --device cpu")


def traced_extractor(folder: Path, options: FaceOptions) -> FakeExtractor:
    """Leaves a file that names the process that it was opened in."""
    (folder / str(os.getpid())).touch()
    return FakeExtractor(options)


def process_of_first_worker(folder: Path) -> int:
    """Waits until a worker has opened its extractor."""
    for _ in range(600):
        traces = list(folder.iterdir())
        if traces:
            return int(traces[0].name)
        time.sleep(0.1)
    pytest.fail("no worker has started")


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def test_workers_start_while_the_engine_opens(desk: Desk, traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        save_photo(desk.photos / f"{number}.png")

    def slow(options: EngineOptions, model: Path) -> FakeEngine:
        assert process_of_first_worker(traces) != os.getpid()
        return FakeEngine()

    monkeypatch.setattr("apdraw_cli.conversion.executors.local.find_gpus", lambda: ())
    result = desk.convert(slow, extractor=partial(traced_extractor, traces), workers=None)
    assert (result.exit_code, result.done) == (0, 6)


@pytest.mark.parametrize(("device", "workers"), [("cuda:0", 3), ("cpu", 1)])
def test_where_there_is_a_gpu_as_many_workers_start_as_it_needs(
    desk: Desk, traces: Path, monkeypatch: pytest.MonkeyPatch, device: str, workers: int
) -> None:
    """They start while the engine opens, and make room again if that draws on the CPU after all."""
    for number in range(6):
        save_photo(desk.photos / f"{number}.png")

    def slow(options: EngineOptions, model: Path) -> FakeEngine:
        assert process_of_first_worker(traces) != os.getpid()
        return FakeEngine(device=device)

    monkeypatch.setattr("apdraw_cli.conversion.executors.local.find_gpus", lambda: (Gpu("NVIDIA L4", "8.9"),))
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    recorder = Recorder()
    result = desk.convert(slow, extractor=partial(traced_extractor, traces), workers=None, listener=recorder)
    assert (result.exit_code, result.done, recorder.workers) == (0, 6, workers)


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes with signals")
def test_workers_end_with_an_engine_that_cannot_be_opened(desk: Desk, traces: Path) -> None:
    save_photo(desk.photos / "p.png")
    processes: list[int] = []

    def cannot(options: EngineOptions, model: Path) -> FakeEngine:
        processes.append(process_of_first_worker(traces))
        raise EngineError("there is no GPU here; use --device cpu")

    result = desk.convert(cannot, extractor=partial(traced_extractor, traces), workers=1)
    assert (result.exit_code, result.error) == (3, "there is no GPU here; use --device cpu")
    (process,) = processes
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_an_extractor_that_cannot_be_opened(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    for workers in (0, 1):
        result = desk.convert(extractor=unfit_extractor, workers=workers)
        assert result.exit_code == 3
        assert "pip install detector" in str(result.error)
        assert result.photos == 0


def test_a_full_disk_ends_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        save_photo(desk.photos / f"p{number}.png")

    def full(self: LocalStorage, files: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalStorage, "write", full)
    result = desk.convert()
    assert (result.exit_code, result.done) == (3, 0)
    assert "make room" in str(result.error)
    monkeypatch.undo()
    assert desk.convert().done == 20


def test_a_model_that_is_not_there(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    with pytest.raises(UnfitError, match=r"other\.onnx"):
        desk.convert(model=desk.model.with_name("other.onnx"))


def test_two_conversions_into_one_folder(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    inside: list[str] = []

    def open_engine(options: EngineOptions, model: Path) -> FakeEngine:
        with pytest.raises(UsageError) as caught:
            desk.convert()
        inside.append(str(caught.value))
        return FakeEngine()

    assert desk.convert(open_engine).done == 1
    assert "another apdraw" in inside[0]


class Interrupting(Recorder):
    """Presses Ctrl-C after the first photo."""

    def settled(self, outcome: Outcome) -> None:
        super().settled(outcome)
        if len(self.outcomes) == 1:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(desk: Desk, workers: int) -> None:
    for number in range(40):
        save_photo(desk.photos / f"p{number:02}.png", 10 + number)
    before = signal.getsignal(signal.SIGINT)
    listener = Interrupting()
    with stop_requests() as stop:
        result = desk.convert(FakeEngine(seconds=0.1, batch_size=2), listener=listener, workers=workers, stop=stop)
    assert signal.getsignal(signal.SIGINT) is before
    assert (result.interrupted, result.exit_code, listener.stopped) == (True, 130, True)
    assert 0 < result.done < 40
    assert len(desk.drawings()) == result.done == len(manifest_lines(desk.out))
    rest = desk.convert()
    assert (rest.done, rest.skipped) == (40 - result.done, result.done)


class Stopping(Recorder):
    """Sets an event after the first photo."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop

    def settled(self, outcome: Outcome) -> None:
        super().settled(outcome)
        self._stop.set()


def test_a_library_stops_it_by_an_event_and_keeps_its_signals(desk: Desk) -> None:
    for number in range(40):
        save_photo(desk.photos / f"p{number:02}.png", 10 + number)
    stop = threading.Event()
    handlers: list[Any] = []

    def open_engine(options: EngineOptions, model: Path) -> FakeEngine:
        handlers.append(signal.getsignal(signal.SIGINT))
        return FakeEngine(seconds=0.1, batch_size=2)

    result = desk.convert(open_engine, listener=Stopping(stop), stop=stop)
    assert handlers == [signal.getsignal(signal.SIGINT)]
    assert (result.interrupted, result.exit_code) == (True, 130)
    assert 0 < result.done == len(desk.drawings()) < 40


def settled_length(items: list[Any]) -> int:
    """The length of a list that grows in another thread, once it has begun to grow and no longer does."""
    for _ in range(60):
        before = len(items)
        time.sleep(0.5)
        if before and len(items) == before:
            return before
    return len(items)


def test_memory_is_bounded_by_taking_up_photos_as_they_are_drawn(desk: Desk) -> None:
    for number in range(60):
        save_photo(desk.photos / f"p{number:02}.png")
    gate = threading.Event()
    read: list[str] = []

    class Slow(FakeEngine):
        def draw(self, batch: Any) -> Any:
            gate.wait(60)
            return super().draw(batch)

    class Counting:
        def extract(self, photo: Any, timings: dict[str, float], landmarks: Any = None) -> Any:
            read.append("")
            return fake_extractor(FaceOptions()).extract(photo, timings, landmarks)

    counting = Counting()
    result: list[ConvertResult] = []
    thread = threading.Thread(
        target=lambda: result.append(desk.convert(Slow(batch_size=2), extractor=lambda options: counting))
    )
    thread.start()
    taken_up = settled_length(read)
    gate.set()
    thread.join()
    assert result[0].done == 60
    assert taken_up < 15


def test_failures_are_told_of_up_to_a_number_and_all_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apdraw_cli.conversion.conversion.MOST_FAILURES", 3)
    for number in range(5):
        (desk.photos / f"p{number}.png").write_bytes(b"")
    result = desk.convert()
    assert (result.failed, len(result.failures), result.exit_code) == (5, 3, 1)
    assert len(manifest_lines(desk.out)) == 5


def test_a_dry_run_writes_nothing(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    save_photo(desk.photos / "no-face.png", 0)
    with Plan(desk.options()) as plan:
        steps = list(plan.steps())
    assert [step.settled for step in steps] == [None, None]
    assert not desk.out.exists()
    desk.convert()
    save_photo(desk.photos / "new.png")
    with Plan(desk.options()) as plan:
        planned = {step.source.name: step.settled and step.settled.status for step in plan.steps()}
    assert planned == {"new.png": None, "no-face.png": "no_face", "p.png": "skipped"}


def test_lines_are_written_as_photos_are_finished(desk: Desk) -> None:
    """A crash at any point leaves a line for each photo told of before."""
    for number in range(12):
        save_photo(desk.photos / f"p{number}.png")

    class Looking(Recorder):
        def settled(self, outcome: Outcome) -> None:
            super().settled(outcome)
            text = (desk.out / "apdraw-manifest.jsonl").read_text()
            assert len([json.loads(line) for line in text.splitlines()]) == len(self.outcomes)

    assert desk.convert(listener=Looking()).done == 12


def test_a_listener_that_breaks_leaves_nothing_running(desk: Desk) -> None:
    for number in range(12):
        save_photo(desk.photos / f"p{number}.png")

    class Broken(Recorder):
        def settled(self, outcome: Outcome) -> None:
            raise RuntimeError("no ink")

    with pytest.raises(RuntimeError, match="no ink"):
        desk.convert(listener=Broken())
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("draw", "feed"))] == []


def test_the_output_folder_inside_the_source_is_not_read(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    assert desk.convert(output=desk.photos / "out").done == 1
    result = desk.convert(output=desk.photos / "out")
    assert (result.skipped, result.photos) == (1, 1)


CHANGES = st.lists(
    st.tuples(st.sampled_from(("photo", "no photo", "no drawing", "torn", "strict")), st.integers(0, 2)), max_size=6
)


@settings(max_examples=15)
@given(changes=CHANGES)
def test_after_any_changes_each_photo_has_its_drawing(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int]]
) -> None:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    expected: dict[str, int] = {}
    for step, (change, number) in enumerate(changes, 1):
        photo, drawing = desk.photos / f"p{number}.png", desk.out / f"p{number}.png"
        match change:
            case "photo":
                value = 10 * step + number
                changed(photo, value) if photo.exists() else save_photo(photo, value)
                expected[photo.name] = value
            case "no photo":
                photo.unlink(missing_ok=True)
                expected.pop(photo.name, None)
            case "no drawing":
                drawing.unlink(missing_ok=True)
            case "torn":
                manifest = desk.out / "apdraw-manifest.jsonl"
                if manifest.exists():
                    manifest.write_bytes(manifest.read_bytes()[:-7])
        result = desk.convert(strict=change == "strict", prune=True)
        assert (result.done + result.skipped, result.failed) == (len(expected), 0)
        assert {name: value for name, value in desk.drawings().items() if name in expected} == expected


def test_one_photo_is_drawn_beside_it(desk: Desk) -> None:
    photo = save_photo(desk.photos / "me.jpg", 90)
    neighbour = save_photo(desk.photos / "you.jpg", 40)
    alone = {"sources": (str(photo),), "output": None}
    result = desk.convert(**alone)
    assert (result.done, result.output) == (1, desk.photos)
    assert result.manifest == desk.photos / ".apdraw-manifest.jsonl"
    assert drawn_value(desk.photos / "me-drawing.png") == pytest.approx(90, abs=2)
    assert desk.convert(no_engine, **alone).skipped == 1
    changed(photo, 120)
    assert desk.convert(**alone).done == 1
    assert drawn_value(desk.photos / "me-drawing.png") == pytest.approx(120, abs=2)
    desk.convert(sources=(str(neighbour),), output=None)
    assert {each.name for each in desk.photos.iterdir() if not each.name.startswith(".")} == {
        *("me.jpg", "me-drawing.png", "you.jpg", "you-drawing.png"),
    }
    # The folder goes on to be one of photos, and its drawings are none.
    result = desk.convert()
    assert (result.done, result.own_drawings, result.drawing_folders) == (2, 2, ())


def test_one_photo_is_drawn_into_the_file_named(desk: Desk, tmp_path: Path) -> None:
    photo = save_photo(desk.photos / "me.png", 90, TWO_FACES)
    for name, kind in (("new/x.jpg", "JPEG"), ("y.tif", "TIFF")):
        assert desk.convert(sources=(str(photo),), output=tmp_path / name).done == 1
        with Pillow.open(tmp_path / name) as drawing:
            assert drawing.format == kind
    assert desk.convert(sources=(str(photo),), output=tmp_path / "z.png", faces="all").drawings == 2
    assert (tmp_path / "z.2.png").exists()
    taken = tmp_path / "mine.png"
    save_photo(taken)
    result = desk.convert(sources=(str(photo),), output=taken)
    assert codes(result) == {"me.png": "name_taken"}
    assert codes(desk.convert(sources=(str(taken),), output=taken)) == {"mine.png": "name_taken"}


@pytest.mark.parametrize(
    ("output", "changes", "told"),
    [
        ("me.png", {"format": "jpg"}, "leave out one of them"),
        ("me.bmp", {}, r"not written as \.bmp"),
        ("me.PNG", {}, r"not written as \.PNG"),
        ("me.png", {"gallery": True}, "name one with --output"),
    ],
)
def test_a_file_that_cannot_be_is_refused(desk: Desk, output: str, changes: dict[str, Any], told: str) -> None:
    photo = save_photo(desk.photos / "p.jpg")
    with pytest.raises(UsageError, match=told):
        desk.convert(sources=(str(photo),), output=desk.out / output, **changes)
    assert not desk.out.exists()


def test_a_file_is_no_output_for_several_photos(desk: Desk) -> None:
    photo = save_photo(desk.photos / "p.jpg")
    for sources in ((str(desk.photos),), (str(photo), str(save_photo(desk.photos / "q.jpg")))):
        with pytest.raises(UsageError, match="name a folder"):
            desk.convert(sources=sources, output=desk.photos.parent / "me.png")
