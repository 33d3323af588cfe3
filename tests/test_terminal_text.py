"""Text for a terminal."""

import io
import sys

import pytest
from tqdm import tqdm

from apdraw_cli.terminal_text import duration, photos, printable, rate, table, write


def test_cells_stand_one_below_the_other_and_are_not_wrapped_off_a_terminal() -> None:
    rows = [("a", "x" * 200, ""), ("longer", "the file is empty", "")]
    assert table(rows) == [f"  a       {'x' * 200}", "  longer  the file is empty"]
    assert table([]) == []


def test_a_terminal_is_not_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = table([("p.jpg", "a reason that is longer than the line")])
    assert len(lines) > 1
    assert max(map(len, lines)) <= 30


def test_a_line_is_not_written_onto_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with tqdm(total=2, desc="Drawing", file=terminal) as bar:
        bar.update(1)
        write(sys.stdout, "2 photos")
    before, _, after = terminal.getvalue().partition("2 photos\n")
    assert before.rpartition("\r")[2] == ""  # the bar is cleared
    assert "Drawing" in after  # and drawn again below


def test_what_would_upset_a_terminal_is_replaced() -> None:
    assert table([("\x1b[31mred", "[bold]no markup[/bold]")], 0) == ["\ufffd[31mred  [bold]no markup[/bold]"]
    assert printable("a\nb") == "a\ufffdb"


def test_counts_and_times() -> None:
    assert (photos(1), photos(2)) == ("1 photo", "2 photos")
    assert (rate(2.0), rate(0.05)) == ("2.0 photos/s", "3.0 photos/min")
    assert [duration(seconds) for seconds in (1.23, 75, 3700)] == ["1.2 s", "1 min 15 s", "1 h 1 min"]
