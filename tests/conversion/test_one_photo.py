"""One photo alone: its drawing lies beside it, or is the file that was named."""

from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import (
    TWO_FACES,
    Desk,
    changed,
    codes,
    drawn_value,
    no_engine,
    save_photo,
)
from PIL import Image as Pillow

from engines.errors import UsageError


def test_one_photo_is_drawn_beside_it(desk: Desk) -> None:
    photo = save_photo(desk.photos / "me.jpg", 90)
    neighbour = save_photo(desk.photos / "you.jpg", 40)
    alone = {"sources": (str(photo),), "output": None}
    result = desk.convert(**alone)
    assert (result.done, result.output) == (1, desk.photos)
    assert result.manifest == desk.photos / ".apdraw-manifest.jsonl"
    assert drawn_value(desk.photos / "me-drawing.png") == pytest.approx(90, abs=2)
    again = desk.convert(no_engine, **alone)
    assert (again.skipped, again.files) == (1, (desk.photos / "me-drawing.png",))
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
    several = desk.convert(sources=(str(photo),), output=tmp_path / "z.png", faces="all")
    assert several.files == (tmp_path / "z.png", tmp_path / "z.2.png")
    assert all(file.exists() for file in several.files)
    taken = tmp_path / "mine.png"
    save_photo(taken)
    result = desk.convert(sources=(str(photo),), output=taken)
    assert codes(result) == {"me.png": "name_taken"}
    assert codes(desk.convert(sources=(str(taken),), output=taken)) == {"mine.png": "name_taken"}


def test_the_name_of_the_file_says_the_format(desk: Desk) -> None:
    photo = save_photo(desk.photos / "p.jpg", 90)
    for changes in ({"quality": 30}, {"format": "jpeg", "existing": "overwrite"}):  # another name of the same format
        result = desk.convert(sources=(str(photo),), output=desk.out / "me.jpg", **changes)
        assert result.files == (desk.out / "me.jpg",)
        with Pillow.open(*result.files) as drawing:
            assert drawing.format == "JPEG"
    desk.out.joinpath("folder.svg").mkdir()  # a folder that is there is no file, whatever its name ends in
    desk.convert(output=desk.out / "folder.svg", format="jpg")
    assert (desk.out / "folder.svg" / "p.jpg").exists()


@pytest.mark.parametrize(
    ("output", "changes", "told"),
    [
        ("me.png", {"format": "jpg"}, r"ends in \.png, but --format is jpg: name it me\.jpg, or give --format png"),
        ("me.svg", {"format": "png"}, r"ends in \.svg, but --format is png"),
        ("me.png", {"quality": 30}, "png has no --quality"),
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
