"""A journal can be read after a crash at any byte, and its index finds the last line of each name."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import journal as module
from engines.errors import UnfitError
from engines.journal import Journal, JournalIndex, parse_line, read_journal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def read(path: Path) -> list[object]:
    return [values for _, values in read_journal(path)]


def write(path: Path, *lines: dict[str, object]) -> list[int]:
    journal = Journal(path)
    places = [journal.append(line) for line in lines]
    journal.close()
    return places


@given(lines=st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4), cut=st.integers(0, 200))
def test_cut_anywhere_the_lines_before_are_read_and_more_appended(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, object]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    places = write(path, *lines)
    assert read(path) == lines
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = sum(end - 1 <= path.stat().st_size for end in [*places[1:], len(whole)][: len(lines)])
    write(path, {"more": 1})
    assert read(path) == [*lines[:kept], {"more": 1}]


@pytest.mark.skipif(os.name == "nt", reason="files in use cannot be removed")
def test_a_journal_that_was_removed_is_not_written_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append({"a": 1})
    (tmp_path / "journal").unlink()
    with pytest.raises(FileNotFoundError, match="it was removed"):
        journal.append({"b": 2})
    journal.close()


@pytest.mark.parametrize("line", [b"", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"a'])
def test_what_is_no_object_is_passed_over(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "journal").write_bytes(b'{"a": 1}\n' + line + b'\n{"b": 2}\n' + line)
    assert parse_line(line) is None
    assert read(tmp_path / "journal") == [{"a": 1}, {"b": 2}]


def test_lines_that_are_too_long_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 100)
    places = write(tmp_path / "journal", {"a": 1}, {"long": "x" * 250}, {"b": 2})
    assert list(read_journal(tmp_path / "journal")) == [(places[0], {"a": 1}), (places[2], {"b": 2})]


def test_an_index_finds_the_last_line_of_a_name_and_of_an_alias(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    names = ["a", "\udcff", "a"]
    places = write(path, *({"name": name, "number": number} for number, name in enumerate(names)))
    index = JournalIndex(path)
    for name, place in zip(names, places, strict=True):
        index.add(name, place, [f"{name}.png", "shared"])
    assert index.find("a") == {"name": "a", "number": 2}
    assert index.find_alias("\udcff.png") == {"name": "\udcff", "number": 1}
    assert index.find_alias("shared") == {"name": "a", "number": 2}
    assert index.find("b") is index.find_alias("a") is None
    index.close()
    with pytest.raises(UnfitError, match="make room there"):
        index.find("a")
