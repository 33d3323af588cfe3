"""Only regular files are opened, and names stay inside their folder."""

import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest

from engines.atomic_files import new_part, replacing, sweep, write_atomically
from engines.errors import FileWriteError
from engines.journal import Journal
from engines.landmarks_file import format_landmarks, parse_landmarks, read_landmarks
from engines.portrait import TEMPLATE
from engines.regular_files import (
    NotRegularError,
    OutsideError,
    check_regular,
    inside,
    is_name,
    is_regular,
    open_regular,
    read_regular,
    read_start,
)

OUTSIDE = ["", ".", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", "a\0b", "a/..", "\ud800"]
NO_NAMES = [*OUTSIDE, None, 1, ["a"], b"a"]

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@pytest.fixture(params=["pipe", "device", "socket"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Something that is there and no file; to open it would hang or worse."""
    path = tmp_path / "special"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            try:
                server.bind(str(path))
            except OSError:
                pytest.skip("its path is too long for a socket")
    return path


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_leads_out_is_no_name(name: object) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("name", ["a", "a/b.png", "..a", "a..", ".hidden", "a b", "\udcff.png", "ü"])
def test_names(name: str, tmp_path: Path) -> None:
    assert is_name(name)
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutsideError):
        inside(tmp_path, name)


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "out-elsewhere"
    (out / "real").mkdir(parents=True)
    elsewhere.mkdir()
    (out / "away").symlink_to(elsewhere)
    (out / "within").symlink_to("real")
    (out / "round").symlink_to("round")
    (tmp_path / "link").symlink_to("out")
    for name in ("away/p.png", "away/new/p.png"):
        with pytest.raises(OutsideError):
            inside(out, name)
    assert inside(out, "within/p.png") == out / "within/p.png"
    assert inside(tmp_path / "link", "real/p.png") == tmp_path / "link/real/p.png"
    assert inside(out, "round/p.png")  # where nothing can be written


@pipes
def test_nothing_but_files_is_opened(special: Path) -> None:
    for act in (open_regular, read_regular, check_regular, read_landmarks):
        with pytest.raises(NotRegularError, match="not a regular file"):
            act(special)
    with pytest.raises(NotRegularError):
        Journal(special)
    assert not is_regular(special)


def test_a_folder_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_links_to_files_are_read_if_wanted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == b"content"
    with pytest.raises(OSError, match=r"regular|symbolic"):
        open_regular(tmp_path / "link", follow_links=False)
    assert not is_regular(tmp_path / "link")


def test_a_file_may_be_too_large(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_regular(tmp_path / "file", 4)


def test_a_file_is_replaced_and_not_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("victim")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "link").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "victim"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with contextlib.suppress(RuntimeError), replacing(tmp_path / "file") as file:
        file.write(b"half")
        raise RuntimeError
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    with pytest.raises(FileWriteError, match="cannot write"):
        write_atomically(tmp_path / "no folder/file", b"new")


def test_temporary_files_are_new_and_readable_as_others_are(tmp_path: Path) -> None:
    made = [new_part(tmp_path) for _ in range(3)]
    for _, file in made:
        file.close()
    assert len({path for path, _ in made}) == 3
    (tmp_path / "plain").write_bytes(b"")
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "plain").stat().st_mode}


def test_what_killed_runs_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    own, file = new_part(tmp_path)
    file.close()
    for name in (".apdraw-12ab34cd-0123456789abcdef.part", ".apdraw-77-0.part"):
        (tmp_path / name).write_bytes(b"half")
    kept = [".apdraw-mine.part", "apdraw-77-0.part", ".apdraw-77-0.part.png"]
    for name in kept:
        (tmp_path / name).write_bytes(b"whole")
    (tmp_path / ".apdraw-78-0.part").mkdir()
    (tmp_path / ".apdraw-79-0.part").symlink_to(kept[0])
    sweep(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {own.name, *kept, ".apdraw-78-0.part", ".apdraw-79-0.part"}
    sweep(tmp_path / "nothing")


def test_landmarks_keep_their_places() -> None:
    assert (parse_landmarks(format_landmarks(TEMPLATE.round())) == TEMPLATE.round()).all()


@pytest.mark.parametrize(
    "content",
    [b"", b"1 2\n" * 4, b"1 2\n" * 6, b"1 2 3\n" * 5, b"a b\n" * 5, b"1 nan\n" * 5, b"1 1e99\n" * 5, b"\xff" * 9],
)
def test_other_texts_are_no_landmarks(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_landmarks(content)


def test_reading_the_start_of_a_file_takes_no_memory_beyond_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        assert read_start(file, 4) == b"0123"
        assert read_start(file, 10**30) == b"0123456789"
