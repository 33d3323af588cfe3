"""The Python API: names, an array drawn in three lines, and no trace left in the process that calls it."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags
from PIL import Image as Pillow

import apdraw_cli
from apdraw_cli import Artist, convert_folder
from apdraw_cli.faces.align import apply
from engines.errors import OptionsError, PhotoError, UsageError

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def photo() -> np.ndarray:
    with Pillow.open(SAMPLES / "astronaut.png") as picture:
        return np.array(picture.convert("RGB"))


@pytest.fixture(scope="module")
def artist() -> Iterator[Artist]:
    with Artist(device="cpu") as opened:
        yield opened


def test_exported_names() -> None:
    names = {"Artist", "Drawing", "Photo", "convert_folder", "ApdrawError", "UsageError", "UnfitError", "PhotoError"}
    names |= {"ConvertResult", "Failure", "Outcome", "Face", "PhotoWarning"}
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


def test_paths_pictures_and_arrays_are_drawn_alike(artist: Artist, tmp_path: Path) -> None:
    (expected,) = artist.draw(photo())
    turned = tmp_path / "turned.png"
    exif = Pillow.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the camera lay on its side
    Pillow.fromarray(np.rot90(photo())).save(turned, exif=exif)
    with Pillow.open(turned) as picture:
        before = picture.tobytes(), picture.size
        pictures = [picture, Pillow.fromarray(photo()).convert("RGBA"), str(turned), turned]
        for given in pictures:
            (drawing,) = artist.draw(given)
            np.testing.assert_array_equal(drawing.image, expected.image)
            np.testing.assert_allclose(drawing.transform, expected.transform)
        assert (picture.tobytes(), picture.size) == before
    assert expected.picture.tobytes() == expected.image.tobytes()
    assert artist.files(str(turned)) == artist.files(photo())


def test_a_file_that_cannot_be_read_is_a_photo_error(artist: Artist, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no photo")
    with pytest.raises(PhotoError) as told:
        artist.draw(tmp_path / "notes.jpg")
    assert told.value.code == "not_an_image"
    with pytest.raises(PhotoError) as told:
        artist.draw("none.jpg")
    assert told.value.code == "not_found"


def test_threads_may_share_an_artist(artist: Artist) -> None:
    small = photo()[:300, 100:400]
    (expected,) = artist.draw(small)
    with ThreadPoolExecutor(4) as threads:
        for (drawing,) in threads.map(artist.draw, [small] * 4):
            np.testing.assert_array_equal(drawing.image, expected.image)


def test_the_name_of_the_program_can_be_imported() -> None:
    alias = Path(apdraw_cli.__file__).parent / "import_name" / "__init__.py"
    project = tomllib.loads((SAMPLES.parent / "pyproject.toml").read_text(encoding="utf-8"))
    placed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert placed == {"apdraw_cli/import_name": "apdraw"}
    assert (alias.parent / "py.typed").exists()
    specification = importlib.util.spec_from_file_location("apdraw", alias)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.Artist is Artist
    assert set(dir(module)) == set(apdraw_cli.__all__)


@pytest.fixture
def apdraw_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package by the name that only an installed one has."""
    if importlib.util.find_spec("apdraw") is None:
        monkeypatch.setitem(sys.modules, "apdraw", apdraw_cli)


@pytest.mark.usefixtures("apdraw_module")
def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (SAMPLES.parent / "docs" / "python.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLES / "grace_hopper.jpg", "me.jpg")
    Path("photos").mkdir()
    shutil.copy(SAMPLES / "grace_hopper.jpg", "photos")
    Path("photos/empty.jpg").touch()
    Path("notes.txt").write_text("no photo")
    printed: list[tuple[object, ...]] = []
    found: dict[str, Any] = {"print": lambda *words: printed.append(words)}
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for example in examples:
        exec(example, found)
    with Pillow.open("me-drawing.png") as drawing:
        assert (drawing.size, drawing.mode) == ((512, 512), "L")
    np.testing.assert_array_equal(found["drawings"][0].image, found["again"][0].image)
    assert abs(found["eyes"][:, 1].mean() - 247) < 15
    assert found["data"].startswith(b"\xff\xd8")
    assert found["result"].done + found["result"].failed >= 1
    assert printed[0] == (1, "drawn, the largest face first")
    assert {("grace_hopper.jpg", "done"), ("empty.jpg", "empty", "the file is empty")} <= set(printed)
    assert printed[-2][0] == "not_an_image"
    assert "there is no no-such-folder" in str(printed[-1][0])


TYPED = """
from pathlib import Path
import apdraw_cli
from apdraw_cli import Artist, ConvertResult, Drawing, convert_folder

drawings: list[Drawing] = Artist(style="bold").draw(Path("me.jpg"))
result: ConvertResult = convert_folder(["a", Path("b")], on_photo=lambda photo: print(photo.status))
reveal_type(apdraw_cli.Artist)
wrong: int = drawings[0].face
"""


@pytest.mark.slow
def test_it_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "script.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path / "script.py")]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SAMPLES.parent).stdout
    errors = [line for line in told.splitlines() if " error: " in line]
    assert [line.rpartition(":")[2] for line in errors] == [
        ' Incompatible types in assignment (expression has type "Face", variable has type "int")  [assignment]'
    ], told


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
