"""`apdraw gallery`, and `--gallery` of convert: what is told, and what is never replaced."""

import json
from pathlib import Path

import pytest
from gallery_folder import draw, drawn_folder
from typer.testing import CliRunner

from apdraw_cli.app import app
from engines.errors import UsageError


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["gallery", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_page_is_told_of(tmp_path: Path) -> None:
    folder = drawn_folder(tmp_path)
    code, told = run(folder)
    assert code == 0
    assert told.startswith("8 entries; ")  # a failure that has no picture is none without its photo
    assert told.endswith(f"Open {folder / 'index.html'}\n")
    assert (folder / "index.html").read_bytes().startswith(b"<!DOCTYPE html>")
    result = json.loads(run(folder, "--json")[1])
    assert (result["entries"], result["drawings"], result["without_photo"], result["pictures"]) == (8, 6, 0, 0)


def test_drawings_whose_photo_is_gone_are_told_of(tmp_path: Path) -> None:
    folder = drawn_folder(tmp_path)
    (tmp_path / "photos" / "plain.png").unlink()
    assert run(folder)[1].startswith("8 entries, 1 drawing without the photo, gone or changed since (--photos")
    assert json.loads(run(folder, "--json")[1])["without_photo"] == 1


def test_folders_without_drawings_are_refused(tmp_path: Path) -> None:
    assert run(tmp_path / "none")[0] == 2
    code, told = run(tmp_path)
    assert (code, told.count("\n")) == (2, 1)
    assert "holds no apdraw-manifest.jsonl" in told
    code, told = run(drawn_folder(tmp_path), "--photos", tmp_path / "none")
    assert (code, told.count("\n")) == (2, 1)


def test_a_page_of_someone_else_is_never_replaced(tmp_path: Path) -> None:
    folder = drawn_folder(tmp_path)
    (folder / "index.html").write_text("<h1>My own</h1>")
    assert run(folder)[0] == 2
    with pytest.raises(UsageError, match="in the way"):
        draw(tmp_path, faces="all", gallery=True, format="jpg")
    assert not list(folder.glob("*.jpg"))
    assert (folder / "index.html").read_text() == "<h1>My own</h1>"


def test_a_conversion_writes_it_too(tmp_path: Path) -> None:
    drawn_folder(tmp_path)
    result = draw(tmp_path, faces="all", gallery=True)
    assert result.gallery == tmp_path / "drawings" / "index.html"
    assert result.gallery.exists()
    assert draw(tmp_path, faces="all").gallery is None
