"""The pages for users: the program understands their commands, their messages exist, and the site is built."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, ROOT, commands_in

from apdraw_cli import app
from apdraw_cli.serving.application import STATUS_OF

ALL = [(page, line) for page in PAGES for line in commands_in(page)]
IDS = [f"{page.relative_to(ROOT)}: {line}" for page, line in ALL]


def test_the_pages_were_read() -> None:
    assert len(ALL) > 60
    assert "convert samples" in [line for page, line in ALL if page.name == "README.md"]


@pytest.mark.parametrize(("page", "line"), ALL, ids=IDS)
def test_the_program_understands_every_command(page: Path, line: str) -> None:
    import typer

    words = shlex.split(line)
    command = typer.main.get_command(app.app)
    if words[0].startswith("-"):
        command.make_context("apdraw", words, resilient_parsing=True)
        return
    chosen = command.commands[words[0]]  # type: ignore[attr-defined]
    if "--help" not in words:
        chosen.make_context(words[0], words[1:]).close()


def test_the_messages_of_the_troubleshooting_page_are_the_programs() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    ours = page.partition("## Photos that are not drawn")[2]
    sections = [each for each in ours.split("\n## ") if "| message |" in each]
    told = [
        message
        for section in sections
        for row in re.findall(r"^\| (`.*?`)(?: \||, )", section, flags=re.MULTILINE)
        for message in re.findall(r"`([^`]+)`", row)
    ]
    assert len(told) > 15
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for package in ("apdraw_cli", "engines")
        for path in (ROOT / package).rglob("*.py")
    )
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)  # messages of several lines of source

    def is_there(message: str) -> bool:
        pattern = (
            re.escape(message).replace("tensorrt", r"(?:tensorrt|\{[^}]*\})").replace("cuda:0", r"(?:cuda:0|\{[^}]*\})")
        )
        return re.search(pattern, sources) is not None

    assert [message for message in told if not is_there(message)] == []


def test_the_page_of_the_server_tells_every_status() -> None:
    source = (ROOT / "apdraw_cli" / "serving" / "application.py").read_text(encoding="utf-8")
    given = {*re.findall(r"RefusedError\(\s*(\d{3})\b", source), *re.findall(r"^ +(\d{3}): \(", source, re.MULTILINE)}
    given |= {str(status) for status in STATUS_OF.values()}
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    assert len(given) > 8
    assert given - {*re.findall(r"^\| (\d{3}) \|", page, re.MULTILINE)} == set()


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    assert (built.returncode, built.stderr.strip()) == (0, "")
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > 15
    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', "\n".join(pages))
    assert [each for each in loaded if "canonical" not in each] == []  # the site loads nothing from elsewhere


def _environment() -> dict[str, Any]:
    paths = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": paths, "NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
