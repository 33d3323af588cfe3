"""The log file: what it holds, and that nothing of it is left in the process."""

import logging
import re
import sys
from pathlib import Path

import pytest

from apdraw_cli.log_file import log_file
from engines.errors import FileWriteError, UnfitError


def test_lines_have_times_and_levels_and_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "apdraw.log"
    for number in range(2):
        with log_file(path, f"run {number}") as log:
            logging.getLogger("apdraw.photos").info("done  p.png")
            logging.getLogger("apdraw.photos").debug("skipped  q.png")
            logging.getLogger("apdraw.engines.select").warning("drawing on the CPU")
            logging.getLogger("other").warning("of another library")
            log.info("1 photo")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) ", line) for line in lines)
    assert [line.split(" ", 2)[2] for line in lines[:4]] == [
        "INFO run 0",
        "INFO done  p.png",
        "WARNING drawing on the CPU",
        "INFO 1 photo",
    ]
    assert len(lines) == 8


def test_what_ends_the_command_is_the_last_line(tmp_path: Path) -> None:
    with pytest.raises(UnfitError), log_file(tmp_path / "log", "begins"):
        raise UnfitError("no GPU")
    assert (tmp_path / "log").read_text(encoding="utf-8").endswith(" ERROR no GPU\n")
    with pytest.raises(ZeroDivisionError), log_file(tmp_path / "log", "begins"):
        raise ZeroDivisionError("a bug")
    assert "ZeroDivisionError: a bug" in (tmp_path / "log").read_text(encoding="utf-8")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    top = logging.getLogger("apdraw")
    before = (list(top.handlers), top.level)
    with log_file(tmp_path / "log", "begins"):
        assert top.handlers != before[0]
    assert (list(top.handlers), top.level) == before


@pytest.mark.skipif(sys.platform == "win32", reason="an open file is not moved there")
def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with log_file(path, "begins") as log:
        path.rename(tmp_path / "log.1")
        log.info("after rotation")
    assert path.read_text(encoding="utf-8").endswith("INFO after rotation\n")


def test_a_file_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(FileWriteError, match="name another --log-file"), log_file(tmp_path / "none" / "log", "begins"):
        pass


def test_without_a_file_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []  # pytest's own
    try:
        with log_file(None, "begins") as log:
            log.error("told elsewhere")
    finally:
        root.handlers = handlers
    assert capfd.readouterr() == ("", "")
