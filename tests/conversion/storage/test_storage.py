"""What every storage promises."""

import os
import pickle
import sys
from pathlib import Path

import pytest

from apdraw_cli.conversion.storage import Storage, Version, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "tree"))


def test_what_is_written_can_be_listed_and_read(storage: Storage) -> None:
    storage.write({"a/q.png": b"12345", "a/p.png": b"123"})
    storage.write({"a/b/r.png": b""})
    assert storage.listing("").folders == ["a"]
    assert (storage.listing("a").files, storage.listing("a").folders) == (["p.png", "q.png"], ["b"])
    assert (storage.read("a/q.png", 9), storage.read("a/q.png", 2)) == (b"12345", b"12")
    assert storage.version("a/q.png").size == 5
    with storage.open_own("a/p.png") as file:
        assert file.read() == b"123"
    assert [storage.exists(name) for name in ("a", "a/p.png", "p.png")] == [True, True, False]


def test_a_version_changes_with_a_file(storage: Storage, tmp_path: Path) -> None:
    storage.write({"p.png": b"123"})
    found = (tmp_path / "tree" / "p.png").stat()
    assert storage.version("p.png") == Version(3, found.st_mtime_ns)
    storage.write({"p.png": b"1234"})
    assert storage.version("p.png").size == 4


def test_files_are_written_all_or_none(storage: Storage, tmp_path: Path) -> None:
    storage.write({"p.png": b"old"})
    with pytest.raises(OSError, match=r"\[Errno"):
        storage.write({"p.png": b"new", "q" * 300: b""})
    assert storage.read("p.png", 9) == b"old"
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["p.png"]


@pytest.mark.parametrize("name", ["../p.png", "/etc/p.png", "a/../../p.png", ""])
def test_nothing_is_written_opened_or_removed_outside(storage: Storage, tmp_path: Path, name: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "p.png").write_text("mine")
    with pytest.raises(OSError, match=r"\[Errno"):
        storage.write({name: b""})
    with pytest.raises(OSError, match=r"\[Errno"):
        storage.open_own(name)
    with pytest.raises(OSError, match=r"\[Errno"):
        storage.remove(name)
    assert (tmp_path / "p.png").read_text() == "mine"


def test_what_is_missing_is_an_error(storage: Storage) -> None:
    for call in (storage.listing, storage.version, storage.open_own, storage.remove):
        with pytest.raises(FileNotFoundError):
            call("p.png")
    with pytest.raises(FileNotFoundError):
        storage.read("p.png", 1)
    assert storage.identity("p.png") is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_links_are_told_from_folders_and_lead_somewhere(storage: Storage, tmp_path: Path) -> None:
    storage.write({"a/p.png": b"123"})
    (tmp_path / "tree" / "link").symlink_to("a")
    (tmp_path / "tree" / "round").symlink_to("round")
    (tmp_path / "tree" / "q.png").symlink_to("a/p.png")
    found = storage.listing("")
    assert (found.files, found.folders) == (["q.png", "round"], ["a", "link"])
    assert found.links == {"link", "q.png", "round"}
    assert storage.identity("link") == storage.identity("a") != storage.identity("")
    assert storage.leads_to("link") == str((tmp_path / "tree" / "a").resolve())
    assert storage.read("q.png", 9) == b"123"
    with pytest.raises(OSError, match=r"\[Errno"):
        storage.open_own("q.png")
    assert storage.exists("round")


def test_what_others_are_writing_into_a_shared_folder_stays(tmp_path: Path) -> None:
    others = tmp_path / f".apdraw-{'0' * 8}-{'1' * 16}.part"
    left = tmp_path / f".apdraw-{'0' * 8}-{'2' * 16}.part"
    for path in (others, left):
        path.touch()
    os.utime(left, (0, 0))
    open_storage(str(tmp_path), shared=True).write({"p.png": b""})
    assert (others.exists(), left.exists()) == (True, False)
    open_storage(str(tmp_path)).write({"p.png": b""})
    assert not others.exists()


def test_it_goes_between_processes(storage: Storage) -> None:
    storage.write({"p.png": b"123"})
    other = pickle.loads(pickle.dumps(storage))
    assert other == storage
    assert other.read("p.png", 9) == b"123"


def test_one_run_at_a_time_is_in_the_tree(storage: Storage) -> None:
    with storage.lock() as first:
        assert first
        with storage.lock() as second:
            assert not second
        with storage.lock() as third:
            assert not third  # who was kept out frees nothing
    with storage.lock() as after:
        assert after


def test_a_journal_is_appended_to_read_and_searched(storage: Storage, tmp_path: Path) -> None:
    index = storage.journal_index("journal.jsonl")
    assert index.find("a") is None
    with storage.lock():
        journal = storage.open_journal("journal.jsonl")
    for number, name in enumerate(("a", "b", "a")):
        index.add(name, journal.append({"name": name, "number": number}))
    journal.close()
    assert [line["number"] for _, line in storage.read_journal("journal.jsonl")] == [0, 1, 2]
    assert index.find("a") == {"name": "a", "number": 2}
    index.close()
    with pytest.raises(OSError, match="leads out"):
        storage.open_journal("../journal.jsonl")
    assert not (tmp_path.parent / "journal.jsonl").exists()
