"""Drawings are whole or not there, and nothing is replaced that is not ours."""

import io
import os
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.output import DrawingWriter
from engines.errors import PhotoError

DRAWING = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)


PNG = FORMATS["png"]


def is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return FORMATS[path.suffix.removeprefix(".")].is_ours(file)


def writer(folder: Path, file_format: str = "png") -> DrawingWriter:
    return DrawingWriter(folder, FORMATS[file_format])


@pytest.mark.parametrize("file_format", FORMATS)
def test_formats_keep_the_drawing(tmp_path: Path, file_format: str) -> None:
    (name,) = writer(tmp_path, file_format).write("a/p", [DRAWING])
    assert name == f"a/p{FORMATS[file_format].suffix}"
    with Pillow.open(tmp_path / name) as picture:
        assert picture.mode == ("RGB" if file_format == "webp" else "L")
        difference = np.abs(np.array(picture.convert("L")).astype(int) - DRAWING)
    assert difference.max() <= (20 if file_format == "jpg" else 0)
    assert is_ours(tmp_path / name)


def test_png_is_8_bit_grey() -> None:
    data = PNG.encode(DRAWING)
    assert data[24:26] == bytes([8, 0])  # bit depth, colour type


def test_png_is_marked_as_the_format_has_it() -> None:
    data = PNG.encode(DRAWING)
    start = data.index(b"eXIf")
    length = int.from_bytes(data[start - 4 : start], "big")
    chunk = data[start + 4 : start + 4 + length]
    assert chunk.startswith((b"II*\0", b"MM\0*"))  # and no "Exif" before it
    assert b"apdraw" in chunk
    assert int.from_bytes(data[start + 4 + length :][:4], "big") == zlib.crc32(b"eXIf" + chunk)


def test_several_drawings_of_a_photo(tmp_path: Path) -> None:
    assert writer(tmp_path).write("p", [DRAWING] * 3) == ("p.png", "p.2.png", "p.3.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.2.png", "p.3.png", "p.png"]


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    Pillow.fromarray(DRAWING).save(tmp_path / "p.2.png")
    (tmp_path / "q.png").write_text("no picture")
    for name in ("p", "q"):
        with pytest.raises(PhotoError) as caught:
            writer(tmp_path).write(name, [DRAWING, DRAWING])
        assert caught.value.code == "name_taken"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.2.png", "q.png"]
    assert not is_ours(tmp_path / "p.2.png")


def test_a_drawing_of_ours_is_replaced(tmp_path: Path) -> None:
    writer(tmp_path).write("p", [DRAWING])
    writer(tmp_path).write("p", [255 - DRAWING])
    with Pillow.open(tmp_path / "p.png") as picture:
        assert (np.array(picture) == 255 - DRAWING).all()


def test_a_drawing_that_was_emptied_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "p.png").touch()
    writer(tmp_path).write("p", [DRAWING])
    assert is_ours(tmp_path / "p.png")


def test_a_drawing_that_lost_its_mark_is_the_users(tmp_path: Path) -> None:
    """It was perhaps retouched."""
    Pillow.fromarray(DRAWING).save(tmp_path / "p.png")
    with pytest.raises(PhotoError) as caught:
        writer(tmp_path).write("p", [255 - DRAWING])
    assert caught.value.code == "name_taken"


def test_only_drawings_of_ours_are_removed(tmp_path: Path) -> None:
    Pillow.fromarray(DRAWING).save(tmp_path / "p.png")
    (tmp_path / "q.png").touch()
    writer(tmp_path).remove(["p.png", "q.png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.png", "q.png"]


def test_a_reader_never_sees_half_a_drawing(tmp_path: Path) -> None:
    stop = threading.Event()
    sizes = set()

    def look() -> None:
        while not stop.is_set():
            for path in tmp_path.glob("*.png"):
                sizes.add(len(path.read_bytes()))

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(8):
        writer(tmp_path).write("p", [DRAWING])
    stop.set()
    thread.join()
    assert sizes == {len(PNG.encode(DRAWING))}


def test_what_a_killed_run_left_behind_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.apdraw-1-0.part").write_bytes(b"half")
    writer(tmp_path).write("a/p", [DRAWING])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["p.png"]


def test_a_folder_that_cannot_be_made_costs_the_photo(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(PhotoError) as caught:
        writer(tmp_path).write("a/p", [DRAWING])
    assert caught.value.code == "write_failed"


def test_a_name_that_is_too_long_costs_the_photo(tmp_path: Path) -> None:
    with pytest.raises(PhotoError) as caught:
        writer(tmp_path).write("p" * 252, [DRAWING])
    assert caught.value.code == "write_failed"
    assert list(tmp_path.iterdir()) == []
    writer(tmp_path).write("p" * 251, [DRAWING])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser writes everywhere")
def test_a_folder_that_cannot_be_written_costs_the_photo(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o500)
    with pytest.raises(PhotoError) as caught:
        writer(tmp_path).write("a/p", [DRAWING])
    assert caught.value.code == "write_failed"


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    writer(tmp_path).write("p", [DRAWING])
    writer(tmp_path).remove(["p.png", "none.png"])
    assert list(tmp_path.iterdir()) == []


def test_encoding_takes_any_size() -> None:
    with Pillow.open(io.BytesIO(PNG.encode(DRAWING[:30, :20]))) as picture:
        assert picture.size == (20, 30)
