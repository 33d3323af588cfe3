"""What a second run draws again, what it leaves, moves and removes, whatever has changed in between."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion_fakes import (
    CRASHES,
    RAISES,
    TWO_FACES,
    WARNED,
    Desk,
    FakeExtractor,
    changed,
    codes,
    manifest_lines,
    no_engine,
    save_photo,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from apdraw_cli.conversion.options import FaceOptions


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


def test_what_killed_workers_or_was_an_error_in_apdraw_is_tried_again(desk: Desk) -> None:
    """The machine may have killed the worker, and a later version may have mended the error."""
    save_photo(desk.photos / "p.png", 40, CRASHES)
    save_photo(desk.photos / "q.png", 50, RAISES)
    result = desk.convert(workers=1)
    assert codes(result) == {"p.png": "worker_died", "q.png": "internal"}
    again = desk.convert(extractor=mended_extractor)
    assert (again.done, again.failed, again.remembered) == (2, 0, 0)


def mended_extractor(options: FaceOptions) -> FakeExtractor:
    return MendedExtractor(options)


class MendedExtractor(FakeExtractor):
    def extract(self, photo: Any, *arguments: Any) -> Any:
        return super().extract(np.full_like(photo, 40), *arguments)


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
