"""Drawings are whole or not there, and nothing is replaced that is not ours."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.output import remove_files, write_files
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.storage.local import LocalStorage
from engines.errors import PhotoError
from engines.portrait import Image

DRAWING = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)


PNG = FORMATS["png"]


def is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return FORMATS[path.suffix.removeprefix(".")].is_ours(file)


def write(folder: Path, *names: str, drawing: Image = DRAWING) -> None:
    data = PNG.encode(drawing, Recipe())
    write_files(LocalStorage(str(folder)), dict.fromkeys(names, data))


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    Pillow.fromarray(DRAWING).save(tmp_path / "p.2.png")
    (tmp_path / "q.png").write_text("no picture")
    for name in ("p", "q"):
        with pytest.raises(PhotoError) as caught:
            write(tmp_path, f"{name}.png", f"{name}.2.png")
        assert caught.value.code == "name_taken"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.2.png", "q.png"]
    assert not is_ours(tmp_path / "p.2.png")


def test_a_drawing_of_ours_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, "p.png")
    write(tmp_path, "p.png", drawing=255 - DRAWING)
    with Pillow.open(tmp_path / "p.png") as picture:
        assert (np.array(picture) == 255 - DRAWING).all()


def test_a_drawing_that_was_emptied_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "p.png").touch()
    write(tmp_path, "p.png")
    assert is_ours(tmp_path / "p.png")


def test_a_drawing_that_lost_its_mark_is_the_users(tmp_path: Path) -> None:
    """It was perhaps retouched."""
    Pillow.fromarray(DRAWING).save(tmp_path / "p.png")
    with pytest.raises(PhotoError) as caught:
        write(tmp_path, "p.png", drawing=255 - DRAWING)
    assert caught.value.code == "name_taken"


def test_only_drawings_of_ours_are_removed(tmp_path: Path) -> None:
    Pillow.fromarray(DRAWING).save(tmp_path / "p.png")
    (tmp_path / "q.png").touch()
    remove_files(LocalStorage(str(tmp_path)), ["p.png", "q.png"])
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
        write(tmp_path, "p.png")
    stop.set()
    thread.join()
    assert sizes == {len(PNG.encode(DRAWING, Recipe()))}


def test_what_a_killed_run_left_behind_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.apdraw-1-0.part").write_bytes(b"half")
    write(tmp_path, "a/p.png")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["p.png"]


def test_a_folder_that_cannot_be_made_costs_the_photo(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(PhotoError) as caught:
        write(tmp_path, "a/p.png")
    assert caught.value.code == "write_failed"


def test_a_name_that_is_too_long_costs_the_photo(tmp_path: Path) -> None:
    with pytest.raises(PhotoError) as caught:
        write(tmp_path, "p" * 252 + ".png")
    assert caught.value.code == "write_failed"
    assert list(tmp_path.iterdir()) == []
    write(tmp_path, "p" * 251 + ".png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser writes everywhere")
def test_a_folder_that_cannot_be_written_costs_the_photo(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o500)
    with pytest.raises(PhotoError) as caught:
        write(tmp_path, "a/p.png")
    assert caught.value.code == "write_failed"


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, "p.png")
    remove_files(LocalStorage(str(tmp_path)), ["p.png", "none.png"])
    assert list(tmp_path.iterdir()) == []
