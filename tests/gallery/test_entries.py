"""What a gallery shows, read from manifests, untrusted ones too."""

import json
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import TWO_FACES, manifest_lines, save_photo
from gallery_folder import HOSTILE, draw, drawn_folder
from PIL import Image as Pillow

from apdraw_cli.conversion.storage import open_storage
from apdraw_cli.gallery.entries import read_entries


def test_an_entry_for_each_drawing_and_each_failure_in_the_order_of_people(tmp_path: Path) -> None:
    entries = read_entries(open_storage(str(drawn_folder(tmp_path))))
    assert [(entry.record.source, entry.number, entry.drawing) for entry in entries] == [
        (HOSTILE, None, HOSTILE),
        ("landscape.png", None, None),
        ("p9.png", None, "p9.png"),
        ("p10.png", None, "p10.png"),
        ("plain.png", None, "plain.png"),
        ("sub/group.png", 1, "sub/group.png"),
        ("sub/group.png", 2, "sub/group.2.png"),
        ("text.jpg", None, None),
    ]
    errors = {entry.record.source: entry.error.code for entry in entries if entry.error}
    assert errors == {"landscape.png": "no_face", "text.jpg": "not_an_image"}
    assert {entry.record.source: entry.warnings[0].code for entry in entries if entry.warnings} == {
        "p10.png": "small_face"
    }
    assert all(entry.size == (512, 512) for entry in entries if entry.drawing)
    assert all(entry.transform is not None for entry in entries if entry.drawing)


def test_a_drawing_that_is_gone_is_told_of(tmp_path: Path) -> None:
    folder = drawn_folder(tmp_path)
    (folder / "plain.png").unlink()
    (entry,) = [one for one in read_entries(open_storage(str(folder))) if one.record.source == "plain.png"]
    assert (entry.drawing, entry.version, entry.size) == ("plain.png", None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"transform": None},
        {"transform": [[[1, 2, 3]]]},
        {"transform": [[["x", 0, 0], [0, 1, 0]]]},
        {"transform": [[[1e999, 0, 0], [0, 1, 0]]]},
        {"warnings": {"code": 1}},
        {"warnings": [1, {"code": "x"}, {"code": 2, "message": []}]},
    ],
)
def test_lines_that_are_not_as_they_should_be_do_no_harm(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_photo(tmp_path / "photos" / "p.png", 100)
    draw(tmp_path)
    (line,) = manifest_lines(tmp_path / "drawings")
    (tmp_path / "drawings" / "apdraw-manifest.jsonl").write_text(json.dumps(line | changes) + "\n")
    (entry,) = read_entries(open_storage(str(tmp_path / "drawings")))
    assert entry.drawing == "p.png"
    assert entry.warnings == ()
    assert (entry.transform is None) == ("transform" in changes)


@pytest.mark.parametrize("name", ["p.tiff", "p.pgm"])
def test_a_drawing_tells_its_size_in_what_small_pictures_are_made_of(tmp_path: Path, name: str) -> None:
    save_photo(tmp_path / "photos" / "p.png", 100)
    draw(tmp_path)
    (line,) = manifest_lines(tmp_path / "drawings")
    (tmp_path / "drawings" / "apdraw-manifest.jsonl").write_text(json.dumps(line | {"outputs": [name]}) + "\n")
    Pillow.new("L", (60, 40)).save(tmp_path / "drawings" / name)
    (entry,) = read_entries(open_storage(str(tmp_path / "drawings")))
    assert entry.size == (60, 40)


def test_an_overview_is_no_drawing_and_a_group_on_one_page_is_one(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "group.png", 50, TWO_FACES)
    draw(tmp_path, faces="all", overview=True)
    shown = read_entries(open_storage(str(tmp_path / "drawings")))
    assert [(entry.number, entry.drawing, entry.transform is None) for entry in shown] == [
        (1, "group.png", False),
        (2, "group.2.png", False),
    ]
    draw(tmp_path, faces="all", overview=True, place="photo")
    (entry,) = read_entries(open_storage(str(tmp_path / "drawings")))
    assert (entry.number, entry.drawing, entry.transform) == (None, "group.png", None)
