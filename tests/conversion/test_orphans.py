"""Drawings that have no photo any more are found and removed, and nothing else is; drawings are no photos."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion_fakes import FakeEngine, engine_opener, fake_extractor, manifest_lines, no_engine, save_photo

from apdraw_cli.cli.convert import planned, show
from apdraw_cli.commands.convert import Plan, convert
from apdraw_cli.console import Console
from apdraw_cli.conversion.formats.png import encode_picture
from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import ConvertResult


def options(*sources: Path, output: Path, **changes: Any) -> ConvertOptions:
    model = output.parent / "m.onnx"
    model.write_bytes(b"m")
    return ConvertOptions.of(*map(str, sources), output=output, model=model, workers=0, **changes)


def run(*sources: Path, output: Path, opener: Any = None, **changes: Any) -> ConvertResult:
    chosen = options(*sources, output=output, **changes)
    opener = opener or engine_opener(FakeEngine())
    return convert(chosen, Silent(), open_engine=opener, open_extractor=fake_extractor)


def drawings(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in (".png", ".webp")}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        save_photo(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_drawings_of_earlier_runs_are_no_photos(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(photos, output=photos / "drawings")
    (photos / "m.onnx").unlink()
    shutil.copy(photos / "drawings/a.png", photos / "copied.png")
    shutil.copy(photos / "drawings/a.png", photos / "named_otherwise.jpg")
    (photos / "portrait.png").write_bytes(encode_picture(np.full((12, 16, 3), 90, np.uint8)))
    (photos / "film.mp4").touch()
    result = run(photos, output=photos / "all", exclude=("m.onnx",))
    assert (result.done, result.skipped, result.own_drawings, result.failures) == (4, 2, 2, ())
    assert (result.exit_code, result.other_files, result.drawing_folders) == (0, {".mp4": 1}, ("drawings",))
    assert drawings(photos / "all") == {"a.png", "b.png", "sub/c.png", "portrait.png"}
    assert {line["source"]: line["status"] for line in manifest_lines(photos / "all")}["copied.png"] == "skipped"
    show(Console(), result)
    told = capsys.readouterr().out
    assert "6 photos: 4 drawn, 2 made by apdraw; " in told
    assert "1 other file, not looked at: 1 .mp4\n" in told
    assert "Not looked into, since apdraw drew into it: drawings\n" in told
    again = run(photos, output=photos / "all", opener=no_engine)
    assert (again.skipped, again.own_drawings, again.exit_code) == (6, 2, 0)


@pytest.mark.parametrize("prune", [True, False])
def test_what_has_no_photo_any_more_is_removed_if_that_was_asked_for(
    photos: Path, tmp_path: Path, prune: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    run(photos, output=output, format="webp")
    run(photos, output=output)
    (photos / "a.jpg").unlink()
    (photos / "sub/c.jpg").write_bytes(b"damaged")
    (output / "mine.png").write_bytes((output / "b.png").read_bytes())
    (output / "b.webp").write_bytes(b"retouched by its user")
    with Plan(options(photos, output=output, prune=prune)) as opened:
        plan = planned(Console(), opened, prune=prune)
    # A photo that changed is drawn anew as far as anybody knows before it is read; one that fails keeps its drawings.
    assert set(plan["orphans"]) == {"a.png", "a.webp", "sub/c.webp"}
    told = capsys.readouterr().out
    assert ("remove  a.png  (left behind by an earlier run)" if prune else "3 drawings left behind") in told
    before = drawings(output)
    result = run(photos, output=output, prune=prune)
    assert result.pruned == (2 if prune else 0)
    assert drawings(output) == before - ({"a.png", "a.webp"} if prune else set())


def test_only_what_this_command_looked_for_is_removed(photos: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "out", tmp_path / "other"
    save_photo(other / "o.jpg")
    run(photos, output=output)
    run(other, output=output)
    assert run(other, output=output, prune=True).pruned == 0
    shutil.move(photos, tmp_path / "elsewhere")
    photos.mkdir()
    assert run(photos, output=output, prune=True).pruned == 0  # no photo at all: perhaps a disk that is not there
    save_photo(photos / "b.jpg")
    assert run(photos, output=output, prune=True).pruned == 2
    assert drawings(output) == {"b.png", "o.png"}


def test_further_drawings_of_a_photo_go_with_the_option(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos/p.png", mark=(255, 0, 3))
    output = tmp_path / "out"
    run(tmp_path / "photos", output=output, faces="all")
    assert drawings(output) == {"p.png", "p.2.png"}
    assert run(tmp_path / "photos", output=output, faces="all", prune=True).pruned == 0
    save_photo(tmp_path / "photos/p.png", 120, mark=(255, 0, 3))
    for faces, left in (("all", []), ("largest", ["p.2.png"])):
        changed = options(tmp_path / "photos", output=output, faces=faces)
        with Plan(changed) as plan:
            assert planned(Console(), plan, prune=False)["orphans"] == left
    assert run(tmp_path / "photos", output=output, prune=True).pruned == 1
    assert drawings(output) == {"p.png"}
