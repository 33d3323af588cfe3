"""The Python API: names, an array drawn in three lines, and no trace left in the process that calls it."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import apdraw_cli
from apdraw_cli import Artist, convert_folder
from apdraw_cli.faces.align import apply
from engines.errors import OptionsError, UsageError

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def photo() -> np.ndarray:
    with Pillow.open(SAMPLES / "astronaut.png") as picture:
        return np.array(picture.convert("RGB"))


@pytest.fixture(scope="module")
def artist() -> Iterator[Artist]:
    with Artist(device="cpu") as opened:
        yield opened


def test_exported_names() -> None:
    names = {"Artist", "Drawing", "convert_folder", "ApdrawError", "UsageError", "UnfitError", "PhotoError"}
    assert names <= set(dir(apdraw_cli))
    assert names | {"__version__"} == set(apdraw_cli.__all__)
    for name in apdraw_cli.__all__:
        assert getattr(apdraw_cli, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = apdraw_cli.no_such_name


def test_nothing_heavy_is_imported_before_a_name_is_used() -> None:
    code = "import sys, apdraw_cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_array_is_drawn(artist: Artist) -> None:
    (drawing,) = artist.draw(photo())
    assert (drawing.image.shape, drawing.image.dtype) == ((512, 512), np.uint8)
    assert 0.5 < (drawing.image > 127).mean() < 0.99
    x, y, width, height = drawing.face.box
    left, top = apply(drawing.transform, np.array([[x, y]], np.float32))[0]
    right, bottom = apply(drawing.transform, np.array([[x + width, y + height]], np.float32))[0]
    assert 0 < left < 256 < right < 512
    assert 0 < top < 256 < bottom < 512


def test_a_photo_without_a_face_has_no_drawing(artist: Artist) -> None:
    blank = np.zeros((200, 300, 3), np.uint8)
    assert artist.draw(blank) == []
    assert artist.files(blank) == []


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 4), (0, 30, 3)])
def test_what_is_no_photo_is_told(artist: Artist, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        artist.draw(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        artist.draw(np.zeros((20, 30, 3), np.float32))


def process_wide() -> dict[str, Any]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    return {
        "signals": [signal.getsignal(number) for number in numbers],
        "warnings": list(warnings.filters),
        "limit": Pillow.MAX_IMAGE_PIXELS,
        "environment": dict(os.environ),
        "folder": Path.cwd(),
    }


def test_a_folder_is_converted_to_the_bytes_of_the_artist_and_leaves_no_trace(artist: Artist, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes((SAMPLES / "astronaut.png").read_bytes())
    (tmp_path / "photos" / "empty.jpg").touch()
    before = process_wide()
    told = []
    result = convert_folder(tmp_path / "photos", tmp_path / "drawings", device="cpu", workers=1, on_photo=told.append)
    assert process_wide() == before
    assert (result.done, result.failed, result.error) == (1, 1, None)
    assert {outcome.source.name: outcome.status for outcome in told} == {"a.png": "done", "empty.jpg": "failed"}
    (data,) = artist.files(photo())
    assert (tmp_path / "drawings" / "a.png").read_bytes() == data


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="facets"):
        Artist(facets="all")
    with pytest.raises(OptionsError, match="aligned"):
        Artist(aligned=True, faces="all")
    with pytest.raises(UsageError, match="there is no"):
        convert_folder(tmp_path / "none")
