"""A conversion from photos to drawings and manifest, with quick stand-ins for the faces and the generator."""

import json
import threading
from typing import Any

import pytest
from conversion_fakes import (
    CRASHES,
    RAISES,
    TWO_FACES,
    WARNED,
    Desk,
    FakeEngine,
    Recorder,
    codes,
    manifest_lines,
    no_engine,
    save_photo,
)
from PIL import Image as Pillow

from apdraw_cli.commands.convert import Plan
from apdraw_cli.conversion.formats.mark import is_drawing
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import Outcome
from engines.errors import OptionsError


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
