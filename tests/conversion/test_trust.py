"""Nothing that is read back is trusted: whatever an output folder holds, nothing outside it changes, nothing hangs."""

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion_fakes import FakeEngine, Recorder, engine_opener, fake_extractor, manifest_lines, save_photo
from hypothesis import given
from hypothesis import strategies as st

from apdraw_cli.commands.convert import Plan, convert
from apdraw_cli.conversion.formats.png import PNG
from apdraw_cli.conversion.manifest import NAME, History
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import ConvertResult
from apdraw_cli.conversion.output import remove_files, write_files
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.storage.local import LocalStorage
from engines.errors import PhotoError, UsageError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs links and named pipes")

GREY = np.full((8, 8), 200, np.uint8)


class Room:
    """Photos, a folder of drawings made of them, and files of the user's beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photos = folder / "photos"
        self.out = folder / "out"
        self.photo = save_photo(self.photos / "a.png", 100)
        save_photo(self.photos / "sub/b.png", 110)
        self.model = folder / "model.onnx"
        self.model.write_bytes(b"a model")
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        (folder / "victim.txt").write_text("mine")
        (self.elsewhere / "victim.png").write_bytes(PNG.encode(GREY, Recipe()))  # a drawing of another folder
        self.out.mkdir()
        (self.out / "mine.png").write_text("the user's own")
        self.said: dict[str, Any] = {"output": self.out, "model": self.model, "workers": 0}

    def options(self, **changes: Any) -> ConvertOptions:
        return ConvertOptions.of(str(self.photos), **{**self.said, **changes})

    def convert(self, **changes: Any) -> ConvertResult:
        options = self.options(**changes)
        opener = engine_opener(FakeEngine())
        return convert(options, Recorder(), open_engine=opener, open_extractor=fake_extractor)

    def users(self) -> dict[str, bytes]:
        """Everything that is not the program's to change."""
        outside = [path for path in self.folder.rglob("*") if self.out not in (path, *path.parents)]
        files = [path for path in (*outside, self.out / "mine.png") if path.is_file() and not path.is_symlink()]
        return {str(path): path.read_bytes() for path in files} | {str(path): b"" for path in outside if path.is_dir()}

    def rewrite(self, **changes: Any) -> None:
        """Changes the line of `a.png`, so that it is drawn again."""
        lines = manifest_lines(self.out)
        lines[0].update({"source_mtime_ns": 1, **changes})
        (self.out / NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    before = room.users()
    yield room
    assert room.users() == before


@pytest.mark.parametrize(
    "output", ["../victim.txt", "../photos/a.png", "mine.png", "sub/../../victim.txt", "away/victim.png", "/ABSOLUTE"]
)
def test_a_manifest_has_nothing_removed(room: Room, output: str) -> None:
    (room.out / "away").symlink_to(room.elsewhere)
    room.convert()
    room.rewrite(outputs=["a.png", output.replace("/ABSOLUTE", str(room.folder / "victim.txt"))])
    result = room.convert()
    assert (result.done, result.failed) == (1, 0)


def test_an_older_drawing_of_ours_is_still_removed(room: Room) -> None:
    room.convert()
    shutil.copy(room.out / "a.png", room.out / "a.2.png")
    room.rewrite(outputs=["a.png", "a.2.png"])
    assert room.convert().done == 1
    assert not (room.out / "a.2.png").exists()


def test_a_users_file_that_the_manifest_knows_is_not_replaced(room: Room) -> None:
    room.convert()
    shutil.copy(room.out / "mine.png", room.out / "a.png")
    room.rewrite()
    result = room.convert(existing="overwrite")
    assert [failure.code for failure in result.failures] == ["name_taken"]
    assert (room.out / "a.png").read_text() == "the user's own"


@pytest.mark.parametrize("leads", ["../elsewhere", "../elsewhere/new", "../../nowhere"])
def test_a_folder_that_is_a_link_out_is_not_written_through(room: Room, leads: str) -> None:
    (room.out / "sub").symlink_to(leads)
    result = room.convert()
    assert [failure.code for failure in result.failures] == ["write_failed"]
    assert "leads out of the folder" in result.failures[0].message or leads != "../elsewhere"


@pytest.mark.parametrize("leads", ["../victim.txt", "../nothing.png", "../elsewhere/victim.png", "a.png"])
def test_a_link_in_a_drawings_place_is_not_followed(room: Room, leads: str) -> None:
    (room.out / "a.png").symlink_to(leads)
    assert [failure.code for failure in room.convert().failures] == ["name_taken"]
    assert (room.out / "a.png").is_symlink()


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
def test_what_is_no_file_in_a_drawings_place_is_told(room: Room, kind: str) -> None:
    make_special(room.out / "a.png", kind)
    result = room.convert()
    assert [failure.code for failure in result.failures] == ["name_taken"]
    assert result.done == 1


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "link"])
def test_what_is_no_file_in_the_manifests_place_is_told(room: Room, kind: str) -> None:
    make_special(room.out / NAME, kind)
    for act in (room.convert, lambda: list(Plan(room.options()).steps())):
        with pytest.raises(UsageError, match=f"cannot .*{room.out}"):
            act()


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_no_file_among_the_photos_is_told(room: Room, kind: str) -> None:
    make_special(room.photos / "c.png", kind)
    result = room.convert()
    assert [failure.code for failure in result.failures] == ["not_a_file"]
    (room.photos / "c.png").unlink()


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
def test_what_is_no_file_in_the_place_of_landmarks_is_told(room: Room, kind: str) -> None:
    make_special(room.photos / "a.txt", kind)
    result = room.convert(aligned=True)
    assert [failure.code for failure in result.failures] == ["bad_landmarks"]
    (room.photos / "a.txt").rmdir() if kind == "folder" else (room.photos / "a.txt").unlink()


def test_a_link_with_a_temporary_files_name_is_not_followed(room: Room) -> None:
    for number in range(50):
        (room.out / f".apdraw-{os.getpid()}-{number}.part").symlink_to("../victim.txt")
    assert room.convert().done == 2


BROKEN = [
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"source": "a.png", "outputs": ["\\ud800.png"]}',
    "9" * 10_000,
    "NaN",
    '"text"',
    "null",
    "[]",
    "\ufeff{}",
    "\0" * 50,
]


@pytest.mark.parametrize("line", BROKEN)
def test_a_line_that_makes_no_sense_is_a_torn_one(room: Room, line: str) -> None:
    room.convert()
    with (room.out / NAME).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n{line}")
    assert room.convert().skipped == 2


FIELDS = ["source", "root", "status", "outputs", "error", "source_size", "source_mtime_ns", "model", "options"]
VALUES = [None, 1, 1.5, float("nan"), float("inf"), 10**400, True, "", "\ud800", "\0", [], ["\ud800"], {}, {"code": []}]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_fields_of_another_kind(tmp_path: Path, field: str, value: object) -> None:
    line = {
        "source": "a.png",
        "root": "/photos",
        "status": "failed",
        "outputs": ["a.png"],
        "error": {"code": "damaged", "message": "why"},
        "source_size": 1,
        "source_mtime_ns": 1,
        "model": "m",
        "options": "o",
    }
    (tmp_path / NAME).write_text(json.dumps({**line, field: value}) + "\n")
    history = History(LocalStorage(str(tmp_path)))
    record = history.of("a.png")
    history.close()
    if record is not None:
        for text in (record.source, record.root, record.code, record.message, *record.outputs):
            text.encode("utf-8", "surrogateescape")
        assert record.size is None or isinstance(record.size, int)


PARTS = st.sampled_from(
    ["..", ".", "", "a.png", "a", "sub", "mine.png", "away", "victim.png", "victim.txt", "photos", "out", "elsewhere"]
)
NAMES = st.lists(PARTS, max_size=5).map("/".join) | st.text(max_size=8) | st.none() | st.integers()
LINES = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["a.png", "sub/b.png"]) | NAMES,
        "root": NAMES,
        "status": st.sampled_from(["done", "failed", "no_face", "skipped"]) | NAMES,
        "outputs": st.lists(NAMES, max_size=4) | NAMES,
        "error": st.none() | st.fixed_dictionaries({"code": NAMES, "message": NAMES}),
        "source_size": st.none() | st.integers(),
        "source_mtime_ns": st.none() | st.integers(),
        "model": st.text(max_size=3),
        "options": st.sampled_from(["o", "x"]),
    }
)
THINGS = st.dictionaries(
    st.sampled_from(["a.png", "a.2.png", "sub", "sub/b.png", ".apdraw-1-0.part", "away/victim.png"]),
    st.sampled_from(["pipe", "../victim.txt", "../elsewhere", "..", "/dev/zero", "nothing", "file", "drawing"]),
    max_size=4,
)


@given(st.lists(LINES, max_size=4), THINGS, st.booleans())
def test_whatever_an_output_folder_holds(lines: list[dict[str, Any]], things: dict[str, str], away: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder))
        if away:
            (room.out / "away").symlink_to(room.elsewhere)
        before = room.users()
        for name, kind in things.items():
            make_thing(room.out / name, kind)
        before_too = {path: text for path, text in room.users().items() if path in before}
        checksum = Recipe.of(room.options()).checksum()
        for line in lines:
            line["options"] = checksum if line["options"] == "o" else line["options"]
        (room.out / NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
        output = LocalStorage(str(room.out))
        drawing = PNG.encode(GREY, Recipe())
        with Plan(room.options()) as plan:
            steps = list(plan.steps())
        for step in steps:
            if step.settled is not None:
                continue
            with contextlib.suppress(PhotoError):
                write_files(output, dict.fromkeys((step.drawing, f"{step.source.drawing}.2.png"), drawing))
            remove_files(output, step.replaced)
        assert room.users() == before_too


def make_special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            try:
                server.bind(str(path))
            except OSError:
                pytest.skip("its path is too long for a socket")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("../victim.txt")


def make_thing(path: Path, kind: str) -> None:
    """Puts something into the output folder, unless its place is taken or elsewhere."""
    if not path.parent.is_dir() or path.parent.is_symlink() or os.path.lexists(path):
        return
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("the user's own")
    elif kind == "drawing":
        path.write_bytes(PNG.encode(GREY, Recipe()))
    else:
        path.symlink_to(kind)
