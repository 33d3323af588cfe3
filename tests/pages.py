"""The pages for users, and the commands in them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "engines" / "weights" / "README.md"]
SHELLS = ("", "sh", "bash")
"""Languages of blocks that hold commands; others are marked with another."""


def blocks(page: Path, language: str = "") -> Iterator[str]:
    """The blocks of code of a page in a language; those that name none in ''."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if found[1] == language:
            yield found[2]


def shell_lines(page: Path) -> list[str]:
    """The lines of a page that a user types into a shell, without notes at their end."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(block for language, block in found if language in SHELLS).replace("\\\n", " ").splitlines()
    return [line for each in lines if (line := re.sub(r"(^|\s+)#(\s.*|$)", "", each).strip())]


def commands_in(page: Path) -> list[str]:
    """The calls of apdraw in a page, from behind `apdraw` on, without what a shell does with the rest."""
    lines = []
    for line in shell_lines(page):
        for part in re.split(r"\s+(?:&&|\|\|?|>)\s+", f" {line} "):
            called = re.match(r"\s*(?:docker run .* apdraw(?:-gpu)? |srun apdraw |apdraw )(.*)", part)
            if called and "docker build" not in part:
                lines.append(called[1].partition(" > ")[0].strip())
    return lines
