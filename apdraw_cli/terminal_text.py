"""Text for a terminal: tables, durations, counts, and lines without what would upset it."""

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Final, TextIO

MOST_LISTED: Final = 20
"""So many photos are named in a list for people; the manifest and --json name all."""

UNLIMITED: Final = 10_000


def table(rows: Sequence[tuple[str, ...]], indent: int = 2) -> list[str]:
    """Rows as lines, with cells one below the other; on a terminal no wider than that."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return []
    grid = Table.grid(padding=(0, 2))
    for _ in rows[0]:
        grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED
    console = Console(width=width - indent, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(grid)
    return [" " * indent + line.rstrip() for line in captured.get().splitlines()]


def photos(count: int) -> str:
    """How many photos."""
    return "1 photo" if count == 1 else f"{count} photos"


def rate(per_second: float, unit: str = "photo") -> str:
    """How many photos a second, or a minute where they are few."""
    return f"{per_second:.1f} {unit}s/s" if per_second >= 0.1 else f"{per_second * 60:.1f} {unit}s/min"


def duration(seconds: float) -> str:
    """How long, in the two largest units."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def printable(text: str) -> str:
    """A line without what would upset a terminal: control characters and bytes that are no text."""
    try:
        readable = os.fsencode(text).decode("utf-8", "replace")
    except UnicodeEncodeError:  # half a character, which is no text either
        readable = text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in readable)


def write(stream: TextIO, text: str, *, one_line: bool = True) -> None:
    """Writes a line, or several; what the stream cannot encode is replaced."""
    line = printable(text) if one_line else "\n".join(map(printable, text.split("\n")))
    encoding = stream.encoding or "utf-8"
    line = line.encode(encoding, "replace").decode(encoding)
    # Of standard error nobody may be listening, which is no reason to stop.
    unheard = contextlib.suppress(OSError) if stream is sys.stderr else contextlib.nullcontext()
    with unheard, _beside_bars(stream):
        print(line, file=stream, flush=True)


def _beside_bars(stream: TextIO) -> contextlib.AbstractContextManager[None]:
    """While it is open, no bar of tqdm is on the terminal's last line."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    return contextlib.nullcontext() if tqdm is None else tqdm.external_write_mode(file=stream)
