"""The pages for users: their commands run, their messages exist, and the site is built without a warning."""

import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import FakeEngine, engine_opener, fake_extractor, save_photo

from apdraw_cli import app
from apdraw_cli.commands import convert as commands
from apdraw_cli.serving.application import STATUS_OF

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "engines" / "weights" / "README.md"]
SHELL = set("|<>&;$`")

RUN = ("convert", "gallery")
"""Commands that are run as they stand in the pages, with stand-ins for faces and generator; of the others it is checked
that the program understands them."""

MISSING = {"--model", "--cluster"}
"""Options that name what is not at hand."""


def blocks(page: Path, language: str = "") -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if found[1] == language:
            yield found[2]


def commands_in(page: Path) -> list[str]:
    """The lines of a page that call apdraw, from `apdraw` on, without what a shell does with the rest."""
    lines = []
    for block in (*blocks(page), *blocks(page, "sh"), *blocks(page, "bash")):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s+(?:&&|\|\|?|>|#)\s+", f" {line.strip()} "):
                called = re.match(r"\s*(?:docker run .* apdraw(?:-gpu)? |apdraw )(.*)", part)
                if called and "docker build" not in part:
                    lines.append(called[1].partition(" # ")[0].partition(" > ")[0].strip())
    return lines


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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the pages speak of it, with stand-ins for what takes long."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "photos/a.png",
        "photos/b.png",
        "samples/astronaut.png",
        "me.jpg",
        "you.jpg",
        "you.heic",
        "few/a.png",
        "party.jpg",
    ):
        save_photo(tmp_path / name, 120, **({"format": "PNG"} if name.endswith("heic") else {}))
    faked = functools.partial(commands.convert, open_engine=engine_opener(FakeEngine()), open_extractor=fake_extractor)
    monkeypatch.setattr(commands, "convert", faked)
    (tmp_path / "m.onnx").touch()
    return tmp_path


RUNNING = [
    (page, line)
    for page, line in ALL
    if line.split()[0] in RUN
    and not SHELL & set(line)
    and not {"-", "--help", "--watch", "--jsonl"} & set(line.split())
    and not MISSING & {word.partition("=")[0] for word in line.split()}
    and page.name not in ("containers.md",)
    and "://" not in line  # needs a server: tests/conversion/storage/test_bucket.py has one
]


@pytest.mark.parametrize(("page", "line"), RUNNING, ids=[f"{page.name}: {line}" for page, line in RUNNING])
def test_commands_that_draw_run(
    page: Path, line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(line: str) -> int:
        monkeypatch.setattr("sys.argv", ["apdraw", *shlex.split(line)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return int(ended.value.code or 0)

    for word in shlex.split(line)[1:]:
        if re.fullmatch(r"[\w-]+\.(jpg|png)", word) and not Path(word).exists():
            save_photo(Path(word), 120)
    if line.startswith("gallery"):
        drawings = shlex.split(line)[1]
        assert run(f"convert photos -o {drawings}") == 0
    assert run(line) == 0, capsys.readouterr().err


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
