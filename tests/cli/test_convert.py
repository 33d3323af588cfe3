"""`apdraw convert` as a whole: what it prints, how it is interrupted, and real photos through the real parts."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_ins
from conversion_fakes import (
    WARNED,
    FakeEngine,
    engine_opener,
    fake_extractor,
    manifest_lines,
    no_engine,
    save_photo,
)
from PIL import Image as Pillow
from PIL import ImageOps
from typer.testing import CliRunner

from apdraw_cli import __version__, app
from apdraw_cli.cli.convert import show
from apdraw_cli.commands.convert import convert
from apdraw_cli.console import Console
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import ConvertResult
from apdraw_cli.faces.segment import WEIGHTS as SEGMENTER
from apdraw_cli.progress import ConversionProgress
from apdraw_cli.terminal_text import MOST_LISTED
from engines.portrait import SIZE
from engines.select import shipped_model

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

needs_segmenter = pytest.mark.skipif(not SEGMENTER.exists(), reason="the segmenter's weights are not here")
needs_model = pytest.mark.skipif(not shipped_model().exists(), reason="the shipped model is not here")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        save_photo(tmp_path / "photos" / f"p{number}.png")
    save_photo(tmp_path / "photos" / "landscape.png", 0)
    (tmp_path / "photos" / "empty.jpg").touch()
    return tmp_path / "photos"


def run(photos: Path, console: Console, opener: Any = None, **changes: Any) -> ConvertResult:
    """What the command does, with stand-ins for faces and generator."""
    model = photos.parent / "m.onnx"
    model.touch()
    options = ConvertOptions.of(str(photos), model=model, workers=0, **changes)
    with ConversionProgress(quiet=console.quiet, debug=console.debug) as progress:
        result = convert(
            options,
            progress,
            open_engine=opener or engine_opener(FakeEngine()),
            open_extractor=fake_extractor,
        )
    show(console, result)
    return result


def test_the_json_summary(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(photos, Console("convert", as_json=True))
    summary = json.loads(capsys.readouterr().out)
    assert summary.pop("seconds") > 0
    assert summary.pop("photos_per_second") > 0
    assert summary == {
        "apdraw": __version__,
        "schema_version": 1,
        "command": "convert",
        "photos": 5,
        "done": 3,
        "skipped": 0,
        "no_face": 1,
        "failed": 1,
        "remembered": 0,
        "drawings": 3,
        "engine": "fake",
        "device": "cpu",
        "precision": "fp32",
        "model": str(photos.parent / "m.onnx"),
        "output": str(photos.parent / "photos-drawings"),
        "manifest": str(photos.parent / "photos-drawings" / "apdraw-manifest.jsonl"),
        "failures": [
            {
                "source": "empty.jpg",
                "status": "failed",
                "code": "empty",
                "message": "the file is empty",
                "remembered": False,
                "known": False,
            },
            {
                "source": "landscape.png",
                "status": "no_face",
                "code": "no_face",
                "message": "no face was found",
                "remembered": False,
                "known": False,
            },
        ],
        "interrupted": False,
        "error": None,
        "own_drawings": 0,
        "other_files": {},
        "drawing_folders": [],
        "pruned": 0,
        "warned": 0,
        "warnings": [],
        "gallery": None,
        "known": 0,
        "ignore_known": False,
        "files": [],
        "exit_code": 1,
    }


def test_the_summary_for_people(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(photos, Console())
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[:3] == [
        "Not drawn:",
        "  empty.jpg      the file is empty",
        "  landscape.png  no face was found",
    ]
    assert lines[3].startswith("5 photos: 3 drawn, 1 without a face, 1 failed; ")
    assert lines[4] == f"Drawings and apdraw-manifest.jsonl are in {photos.parent / 'photos-drawings'}"
    assert printed.err == "Drawing with fake on cpu in fp32, no workers.\n"
    run(photos, Console(), no_engine)
    printed = capsys.readouterr()
    assert "the file is empty (known from before)" in printed.out
    assert "5 photos: 0 drawn, 3 up to date, 1 without a face, 1 failed; " in printed.out
    assert "--retry-failed" in printed.out
    assert printed.err == ""


def test_the_file_of_one_photo_is_told(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "out" / "p10.png"
    run(photos / "p0.png", Console(), output=out)
    assert capsys.readouterr().out.splitlines()[-1] == f"The drawing is {out}"
    run(photos / "p0.png", Console(), no_engine, output=out)
    assert capsys.readouterr().out.splitlines()[-1] == f"The drawing is {out}"
    run(photos / "landscape.png", Console())
    assert "drawing is" not in capsys.readouterr().out


def test_quiet_prints_errors_only(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(photos, Console(quiet=True))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "Not drawn:",
        "  empty.jpg      the file is empty",
        "  landscape.png  no face was found",
    ]
    for name in ("empty.jpg", "landscape.png"):
        (photos / name).unlink()
    run(photos, Console(quiet=True), existing="overwrite")
    assert capsys.readouterr() == ("", "")


def test_known_failures_are_ignored_on_request(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(photos, Console(quiet=True), ignore_known=True).exit_code == 1
    capsys.readouterr()
    result = run(photos, Console(quiet=True), no_engine, ignore_known=True)
    assert (result.exit_code, result.known, result.failures) == (0, 2, ())
    assert capsys.readouterr() == ("", "")
    result = run(photos, Console(), ignore_known=True, retry_failed=True)  # tried again, and the same again
    assert (result.exit_code, result.known, result.remembered) == (0, 2, 0)
    assert "2 photos failed before in the same way, and are not listed." in capsys.readouterr().out
    save_photo(photos / "meadow.png", 0)
    (photos / "empty.jpg").write_bytes(b"changed")
    result = run(photos, Console(), ignore_known=True)
    told = capsys.readouterr().out
    assert (result.exit_code, result.known) == (1, 1)
    assert {failure.source for failure in result.failures} == {"meadow.png", "empty.jpg"}
    assert "  meadow.png  no face was found" in told
    assert "landscape.png" not in told
    assert run(photos, Console(), no_engine).exit_code == 1


def test_a_line_for_each_photo(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = photos.parent / "m.onnx"
    model.touch()
    options = ConvertOptions.of(str(photos), model=model, workers=0)
    opened = {"open_engine": engine_opener(FakeEngine()), "open_extractor": fake_extractor}
    for expected in (
        ["done  p0.png -> p0.png (", "failed  empty.jpg: the file is empty (empty)"],
        ["skipped  p0.png: up to date", "failed  empty.jpg: the file is empty (empty, as before)"],
    ):
        with ConversionProgress(each=True) as progress:
            convert(options, progress, **opened)
        told = capsys.readouterr().err
        assert all(f"\n{line}" in f"\n{told}" for line in expected)
        assert len([line for line in told.splitlines() if not line.startswith("Drawing with")]) == 5


def test_a_long_list_of_failures_is_cut(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        (photos / f"e{number}.jpg").touch()
    run(photos, Console())
    out = capsys.readouterr().out
    assert out.count("the file is empty") + out.count("no face was found") == MOST_LISTED
    assert f"and {32 - MOST_LISTED} more: " in out
    assert "apdraw-manifest.jsonl names them" in out


def test_drawings_to_look_at_are_told_of(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_photo(photos / "small.png", 50, WARNED)
    run(photos, Console())
    lines = capsys.readouterr().out.splitlines()
    told = lines.index("Look at these:")
    assert lines[told + 1] == "  small.png  the face is small"
    run(photos, Console(as_json=True), existing="overwrite")
    summary = json.loads(capsys.readouterr().out)
    assert summary["warned"] == 1
    assert summary["warnings"] == [
        {"source": "small.png", "output": "small.png", "code": "small_face", "message": "the face is small"}
    ]


def test_a_long_list_of_drawings_to_look_at_is_cut(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(MOST_LISTED + 5):
        save_photo(photos / f"w{number}.png", 50, WARNED)
    run(photos, Console())
    out = capsys.readouterr().out
    assert out.count("the face is small") == MOST_LISTED
    assert "and 5 more: " in out


def test_what_ended_it_early_is_told_last(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(photos, Console(), engine_opener(FakeEngine(fails_after=0)))
    assert result.exit_code == 3
    assert capsys.readouterr().err.splitlines()[-1] == "apdraw: error: the device is gone; use --device cpu"


def test_a_traceback_of_a_bug_is_shown_in_debugging(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_photo(photos / "bug.png", mark=(255, 0, 2))
    run(photos, Console())
    assert "Traceback" not in capsys.readouterr().err
    run(photos, Console(debug=True), retry_failed=True)
    assert "RuntimeError: a bug" in capsys.readouterr().err


SLOW_COMMAND = textwrap.dedent("""
    import sys
    from pathlib import Path
    from conversion_fakes import FakeEngine, engine_opener, fake_extractor
    from apdraw_cli.cli.convert import show
    from apdraw_cli.commands.convert import convert
    from apdraw_cli.console import Console
    from apdraw_cli.conversion.options import ConvertOptions
    from apdraw_cli.own_process import stop_requests
    from apdraw_cli.progress import ConversionProgress

    photos = Path(sys.argv[1])
    options = ConvertOptions.of(str(photos), model=photos.parent / "m.onnx", workers=1)
    engine = FakeEngine(seconds=float(sys.argv[2]), batch_size=2)
    opened = {"open_engine": engine_opener(engine), "open_extractor": fake_extractor}
    with stop_requests() as stop, ConversionProgress() as progress:
        result = convert(options, progress, stop=stop, **opened)
    sys.exit(show(Console("convert"), result))
""")


def begin(photos: Path, seconds: float) -> "subprocess.Popen[str]":
    """Begins a slow conversion, and waits until the first photos are done."""
    (photos.parent / "m.onnx").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_COMMAND, str(photos), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    manifest = photos.parent / "photos-drawings" / "apdraw-manifest.jsonl"
    for _ in range(3000):  # seconds, but on a machine that does much else
        if manifest.exists() and '"done"' in manifest.read_text():
            return process
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"nothing was drawn: {process.communicate()}")


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a process group")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupting_keeps_what_is_done(photos: Path, name: str) -> None:
    for number in range(60):
        save_photo(photos / f"q{number}.png")
    process = begin(photos, seconds=0.2)
    os.killpg(process.pid, signal.Signals[name])  # as a terminal does: to the workers too
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted: what is drawn is kept" in out
    assert "Stopping: " in err
    assert "Traceback" not in out + err
    folder = photos.parent / "photos-drawings"
    lines = manifest_lines(folder)
    done = [line for line in lines if line["status"] == "done"]
    assert 0 < len(done) < 63
    assert {line["error"]["code"] for line in lines if line["error"]} <= {"empty", "no_face"}
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".png") == sorted(
        output for line in done for output in line["outputs"]
    )
    assert not list(folder.glob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_second_ctrl_c_leaves_at_once(photos: Path) -> None:
    for number in range(60):
        save_photo(photos / f"q{number}.png")
    process = begin(photos, seconds=0.5)
    start = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - start < 10


def apdraw(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "apdraw_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )


def told_here(*arguments: str | Path) -> tuple[int, str]:
    """The exit code and output of a command that is run in this process."""
    result = CliRunner().invoke(app.app, [*map(str, arguments)], prog_name="apdraw")
    return result.exit_code, result.stdout


@needs_segmenter
def test_a_folder_of_good_and_broken_photos(tmp_path: Path, brightness_model: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "x.jpg").mkdir(parents=True)
    astronaut = Pillow.open(SAMPLES / "astronaut.png").convert("RGB")
    hopper = Pillow.open(SAMPLES / "grace_hopper.jpg").convert("RGB")
    astronaut.save(folder / "twice.jpg")
    astronaut.save(folder / "twice.png")
    hopper.save(folder / "x.jpg" / "inside.webp")
    group = Pillow.new("RGB", (1200, 700), "white")
    group.paste(astronaut, (20, 100))
    group.paste(hopper.resize((400, 473)), (700, 100))
    group.save(folder / "group.jpg", quality=90)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    astronaut.transpose(Pillow.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=95)
    ImageOps.grayscale(hopper).save(folder / "Zoë grey.png")
    Pillow.new("RGB", (1, 1)).save(folder / "dot.png")
    Pillow.linear_gradient("L").resize((640, 480)).save(folder / "landscape.png")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("Dear diary")
    whole = (folder / "twice.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    astronaut.save(folder / "closed.png")
    (folder / "closed.png").chmod(0)
    closed = not os.access(folder / "closed.png", os.R_OK)  # the superuser reads everything

    code, told = told_here("convert", folder, "--faces", "all", "--model", brightness_model, "--json", "--workers", "1")
    summary = json.loads(told)
    assert code == summary["exit_code"] == 1
    assert {failure["source"]: failure["code"] for failure in summary["failures"]} == {
        "cut.jpg": "truncated",
        "dot.png": "no_face",
        "empty.jpg": "empty",
        "landscape.png": "no_face",
        "text.jpg": "not_an_image",
        **({"closed.png": "unreadable"} if closed else {}),
    }
    out = tmp_path / "photos-drawings"
    drawn = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert drawn == {
        *("group.png", "group.2.png", "turned.png", "twice.jpg.png", "twice.png.png"),
        *("x.jpg/inside.png", "Zoë grey.png"),
        *(() if closed else ("closed.png",)),
    }
    upright, turned = (np.array(Pillow.open(out / name)).astype(int) for name in ("twice.png.png", "turned.png"))
    assert upright.shape == (SIZE, SIZE)
    assert np.abs(upright - turned).mean() < 8

    again = json.loads(told_here("convert", folder, "--faces", "all", "--model", brightness_model, "--json")[1])
    assert again["skipped"] == summary["done"]
    assert (again["done"], again["engine"]) == (0, None)
    assert again["seconds"] < summary["seconds"] / 4


@needs_segmenter
def test_aligned_portraits_with_landmarks_beside_them(tmp_path: Path, brightness_model: Path) -> None:
    (tmp_path / "photos").mkdir()
    Pillow.new("RGB", (SIZE, SIZE), "grey").save(tmp_path / "photos" / "p.png")
    Pillow.new("RGB", (SIZE, SIZE + 1), "grey").save(tmp_path / "photos" / "q.png")
    (tmp_path / "photos" / "p.txt").write_text("201 247\n311 247\n256 312\n207 371\n305 371\n")
    code, told = told_here("convert", tmp_path / "photos", "--aligned", "--model", brightness_model, "--json")
    summary = json.loads(told)
    assert (summary["done"], code) == (1, 1)
    assert [failure["code"] for failure in summary["failures"]] == ["not_aligned"]
    (line,) = [line for line in manifest_lines(tmp_path / "photos-drawings") if line["status"] == "done"]
    assert line["faces"][0]["landmarks"][0] == [201, 247]


@needs_segmenter
@needs_model
def test_the_samples_become_drawings(tmp_path: Path) -> None:
    result = apdraw("convert", SAMPLES, "-o", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 photos: 2 drawn; " in result.stdout
    for name in ("astronaut.png", "grace_hopper.png"):
        drawing = np.array(Pillow.open(tmp_path / name))
        assert drawing.shape == (SIZE, SIZE)
        assert 0.01 < (drawing < 64).mean() < 0.6  # black lines
        assert (drawing > 192).mean() > 0.3  # on white


def through(*arguments: str, given: bytes = b"", folder: Path | None = None) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "apdraw_cli", "convert", *arguments]
    return subprocess.run(command, input=given, capture_output=True, env=ENVIRONMENT, cwd=folder, check=False)


@needs_segmenter
def test_a_picture_goes_through_a_pipe(tmp_path: Path, brightness_model: Path) -> None:
    photo = (SAMPLES / "grace_hopper.jpg").read_bytes()
    piped = through("-", "-o", "-", "--size", "300", "--model", str(brightness_model), given=photo, folder=tmp_path)
    assert (piped.returncode, piped.stderr) == (0, b"")
    with Pillow.open(io.BytesIO(piped.stdout)) as drawing:
        assert (drawing.format, drawing.size) == ("PNG", (300, 300))
    assert list(tmp_path.iterdir()) == []


def here(line: str, given: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs the command in this process and in a folder, with something on standard input; returns its exit code."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    monkeypatch.setattr("sys.argv", ["apdraw", "convert", *line.split()])
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        app.main()
    return int(ended.value.code or 0)


def test_a_picture_of_a_pipe_becomes_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_ins.put_in(monkeypatch.setattr)
    photo = (SAMPLES / "grace_hopper.jpg").read_bytes()
    assert here("- -o me.jpg --json", photo, tmp_path, monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["output"] == str(tmp_path / "me.jpg")
    with Pillow.open(tmp_path / "me.jpg") as drawing:
        assert drawing.format == "JPEG"
    assert here("- -o me.jpg", photo, tmp_path, monkeypatch) == 0  # it is ours, and may be replaced
    Pillow.new("L", (8, 8)).save(tmp_path / "mine.jpg")
    assert here("- -o mine.jpg", photo, tmp_path, monkeypatch) == 1


def test_a_pipe_without_a_face_fails_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    white = io.BytesIO()
    Pillow.new("RGB", (64, 64), "white").save(white, "PNG")
    assert here("- -o -", white.getvalue(), tmp_path, monkeypatch) == 1
    printed = capsysbinary.readouterr()
    assert printed.out == b""
    assert printed.err.startswith(b"apdraw: error: no face")
    assert printed.err.count(b"\n") == 1


@pytest.mark.parametrize(
    ("line", "given", "told"),
    [
        ("-", "picture", b"-o me.png or -o -"),
        ("- -o -", "list", b"holds no picture"),
        ("- -o - --json", "picture", b"both write to standard output"),
        ("- -o folder", "picture", b"name a file with -o me.png"),
        ("a.jpg b.jpg -o -", "", b"one drawing is of one photo"),
        ("- -o - --dry-run", "picture", b"leave it out"),
    ],
)
def test_pipes_that_lead_nowhere_are_refused(
    line: str,
    given: str,
    told: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    data = {"picture": (SAMPLES / "grace_hopper.jpg").read_bytes(), "list": b"a.jpg\n"}.get(given, b"")
    assert here(line, data, tmp_path, monkeypatch) == 2
    assert told in b"".join(capsysbinary.readouterr())
    assert list(tmp_path.iterdir()) == []
