"""What users and their scripts rely on: help, exit codes, and what is printed where."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import apdraw_cli
from apdraw_cli import app
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FaceOptions, FileOptions
from apdraw_cli.faces.detectors import DETECTORS
from engines.options import PRECISIONS, BuildOptions, EngineOptions, choices_of, described
from engines.select import ENGINES
from engines.tensorrt.sidecar import FLAVORS
from train.options import PRESETS, STAGES, TrainOptions

COMMANDS = ("convert", "prepare", "train", "evaluate", "import-weights", "export", "build-engine", "doctor", "bench")


ENVIRONMENT = {**os.environ, "COLUMNS": "110", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def apdraw(*arguments: str | Path, typed: str = "") -> Result:
    """Runs a command line in this process."""
    return CliRunner(env={"COLUMNS": "110"}).invoke(app.app, [*map(str, arguments)], input=typed, prog_name="apdraw")


def process(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs Python as a user does."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
        **options,
    )


def error_line(result: Result) -> str:
    """The one line on standard error."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("apdraw: error: ")
    return line


def test_version() -> None:
    result = apdraw("--version")
    assert (result.exit_code, result.stdout) == (0, f"apdraw {apdraw_cli.__version__}\n")


def test_help_shows_commands_and_examples() -> None:
    result = apdraw("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.stdout
    assert "apdraw convert photos" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str) -> None:
    result = apdraw(command, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"apdraw {command}" in result.stdout


@pytest.mark.parametrize("command", app.COMMANDS, ids=lambda command: command.name)
def test_examples_fit_a_terminal_of_80_columns(command: Any) -> None:
    assert [line for line in command.epilog.splitlines() if len(line) > 78] == []


def test_long_choices_are_told_beside_the_value() -> None:
    text = " ".join(apdraw("convert", "--help").stdout.replace("│", " ").split())
    assert f"One of {', '.join(FORMATS)}." in text
    assert "<crop|photo>" in text or "[crop|photo]" in text  # as Typer has it


def test_help_of_convert_shows_every_option_of_the_contract() -> None:
    text = apdraw("convert", "--help").stdout
    for option in (
        *("--output", "-o", "--model", "--engine", "--device", "--precision", "--batch-size", "--workers"),
        *("--faces", "--min-face", "--aligned", "--detector", "--format", "--existing", "--retry-failed"),
        *("--dry-run", "--quiet", "--json", "--debug"),
    ):
        assert f" {option} " in text, option
    assert "Exit codes" in text


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["convert", "--help"]], ids=" ".join)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    program = f"""
import sys
from apdraw_cli import app
sys.argv = ["apdraw", *{arguments!r}]
try:
    app.main()
except SystemExit as end:
    if end.code:
        raise
names = "numpy torch cv2 PIL onnxruntime openvino joblib tqdm filelock sqlite3"
heavy = {{*names.split()}} & {{*sys.modules}}
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    done = process("-c", program)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_command_shows_the_help() -> None:
    assert "convert" in apdraw().stdout


def test_choices_are_those_of_the_parts() -> None:
    def choices(group: type, name: str) -> tuple[str, ...]:
        return choices_of(*described(group)[name])

    assert choices(EngineOptions, "engine") == ("auto", *ENGINES)
    assert choices(EngineOptions, "precision") == ("auto", *PRECISIONS)
    assert choices(FaceOptions, "detector") == DETECTORS
    assert choices(FileOptions, "format") == tuple(FORMATS)
    assert choices(BuildOptions, "flavor") == ("auto", *FLAVORS)
    assert choices(TrainOptions, "stage") == tuple(STAGES)
    assert choices(TrainOptions, "preset") == tuple(PRESETS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert"],
        ["convert", "p.jpg", "--engine", "abacus"],
        ["convert", "p.jpg", "--workers", "-1"],
        ["convert", "p.jpg", "--batch-size", "0"],
        ["convert", "p.jpg", "--format", "abacus"],
        ["convert", "p.jpg", "--no-such-option"],
        ["no-such-command"],
        ["export", "m.safetensors", "m.onnx", "--precision", "bf16"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str]) -> None:
    result = apdraw(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:0,cpu", "cuda:0,"])
def test_a_device_that_there_is_not(device: str) -> None:
    result = apdraw("convert", "p.jpg", "--device", device)
    assert result.exit_code == 2
    assert f"device must be auto, cpu, cuda, cuda:N or cuda:N,cuda:M, not '{device}'" in error_line(result)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    result = apdraw("convert", tmp_path / "none")
    assert result.exit_code == 2
    assert f"there is no {tmp_path / 'none'}" in error_line(result)


def test_an_empty_list_of_photos() -> None:
    result = apdraw("convert", "-", typed="\n")
    assert result.exit_code == 2
    assert "no photos were given" in error_line(result)


def test_the_output_folder_is_the_source(tmp_path: Path) -> None:
    result = apdraw("convert", tmp_path, "-o", tmp_path)
    assert result.exit_code == 2
    assert "--output" in error_line(result)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").touch()
    result = apdraw("convert", tmp_path / "p.jpg", "--model", tmp_path / "none.onnx")
    assert result.exit_code == 3
    assert "none.onnx" in error_line(result)


def test_a_folder_without_photos(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    result = apdraw("convert", tmp_path / "photos")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "There are no photos" in result.stdout
    assert ".jpg" in result.stdout


def test_a_shard_without_photos(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").touch()
    texts = [apdraw("convert", tmp_path / "p.jpg", "--dry-run", "--shard", f"{number}/2").stdout for number in (0, 1)]
    empty = min(range(2), key=lambda number: texts[number].count("p.jpg"))
    result = apdraw("convert", tmp_path / "p.jpg", "-o", tmp_path / "out", "--shard", f"{empty}/2")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"There are no photos in shard {empty}/2.\n", "")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = apdraw("convert", tmp_path / "none", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("apdraw: error: there is no")


def test_names_that_would_upset_a_terminal_are_shown_without_harm(tmp_path: Path) -> None:
    result = apdraw("convert", f"{tmp_path}/\x1b[31mred\nline.jpg")
    assert result.exit_code == 2
    line = error_line(result)
    assert "\x1b" not in line
    assert "red" in line


def test_a_reader_that_leaves_is_no_error_of_ours(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"{number:0200}.jpg").touch()
    with subprocess.Popen(
        [sys.executable, "-m", "apdraw_cli", "convert", ".", "--dry-run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=ENVIRONMENT,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.readline()
        reader.stdout.close()
        assert reader.stderr.read() == ""


def test_dry_run_lists_what_would_be_done(tmp_path: Path) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photos" / "sub" / "p.jpg").touch()
    arguments = ["convert", tmp_path / "photos", "--dry-run"]
    result = apdraw(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "draw  sub/p.jpg  -> sub/p.png",
        "Would draw 1, skip 0, fail 0; wrote nothing.",
    ]
    assert json.loads(apdraw(*arguments, "--json").stdout) == {
        "dry_run": True,
        "draw": 1,
        "skip": 0,
        "fail": 0,
        "photos": [{"source": "sub/p.jpg", "action": "draw", "drawing": "sub/p.png", "reason": ""}],
        "orphans": [],
        "other_files": {},
        "drawing_folders": [],
        "apdraw": apdraw_cli.__version__,
        "schema_version": 1,
        "warnings": [],
        "command": "convert",
        "exit_code": 0,
        "error": None,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_a_bad_model_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "p.jpg").touch()
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    for extra in ((), ("--dry-run",)):
        for model in ("bad.onnx", "none.onnx"):
            result = apdraw("convert", tmp_path / "photos", "--model", tmp_path / model, *extra)
            assert result.exit_code == 3
            assert model in error_line(result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.onnx", "photos"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["convert", "x", "--nope"], "--nope"),
        (["convert"], "SOURCE"),
        (["convert", "x", "--engine", "abacus"], "'abacus' is not one of 'auto', 'tensorrt', 'openvino'"),
        (["convert", "x", "--workers", "-1"], "--workers"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], told: str) -> None:
    result = process("-m", "apdraw_cli", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("apdraw: error: ")
    assert told in line
    assert line.endswith("--help")


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    result = apdraw("convert", tmp_path, "--aligned", "--faces", "all")
    assert result.exit_code == 2
    assert "leave out --aligned" in error_line(result)


def test_lists_come_on_standard_input(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    paths = f"{tmp_path / 'a.jpg'}\n{tmp_path / 'none.jpg'}\n"
    result = apdraw("convert", "-", "--dry-run", typed=paths)
    assert result.stdout.splitlines()[:2] == ["draw  a.jpg  -> a.png", "fail  none.jpg  (there is no such file)"]


def test_an_error_of_the_program_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("division by zero\nin two lines")

    monkeypatch.setattr("apdraw_cli.commands.gallery.gallery", broken)
    result = apdraw("gallery", "drawings")
    assert result.exit_code == 3
    assert "ZeroDivisionError: division by zero in two lines" in error_line(result)
    assert "--debug" in error_line(result)


@pytest.mark.parametrize("command", [["convert", "photos"], ["prepare", "photos", "dataset", "--npr", "filter"]])
def test_a_package_that_does_not_load_is_no_bug_of_ours(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cv2.py").write_text('raise ImportError("libGL.so.1: cannot open", name="cv2")')
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "p.jpg").touch()
    path = os.pathsep.join([str(tmp_path / "broken"), ENVIRONMENT["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "apdraw_cli", *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == "apdraw: error: cv2 cannot be used here: libGL.so.1: cannot open; see apdraw doctor\n"
