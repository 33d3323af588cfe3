"""The contract with scripts: one frame for the JSON object of every command, however it ends."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import save_photo

from apdraw_cli import __version__, app
from apdraw_cli.cli.parameters import Parameters
from engines.options import described
from train.options import TrainOptions

FRAME = {"apdraw", "schema_version", "command", "exit_code", "error", "warnings"}

FAILURES = {
    "convert": ("none", 2, "usage"),
    "prepare": ("none dataset --npr", 2, "usage"),
    "train": ("none --output run", 2, "dataset"),
    "evaluate": ("none.onnx none", 2, "dataset"),
    "import-weights": ("none out.safetensors", 3, "model"),
    "export": ("none.safetensors out.onnx", 3, "model"),
    "build-engine": ("none.onnx out.engine", 3, "model_file"),
    "tidy": ("none none.onnx out", 2, "dataset"),
    "gallery": ("none", 2, "usage"),
    "serve": ("--model none.onnx", 3, "model_file"),
    "bench": ("none", 2, "usage"),
    "config": ("abacus", 2, "usage"),
}


def frame(command: str | None, code: int, error: object) -> dict[str, object]:
    """What the object of a command holds that has no result."""
    return {
        "apdraw": __version__,
        "schema_version": 1,
        "command": command,
        "exit_code": code,
        "error": error,
        "warnings": [],
    }


@dataclasses.dataclass(frozen=True)
class Ended:
    """How the program ended."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        """The one object on standard output."""
        (line,) = self.out.splitlines()
        return json.loads(line)  # type: ignore[no-any-return]


@pytest.fixture
def apdraw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """The program, run in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    save_photo(tmp_path / "photos" / "landscape.png", 0)

    def run(line: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["apdraw", *line.split()])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_every_command_is_here() -> None:
    assert {*FAILURES, "doctor", "version"} == {command.name for command in app.COMMANDS}


@pytest.mark.parametrize("line", ["convert photos --dry-run", "convert photos", "doctor"])
def test_success(apdraw: Any, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apdraw_cli.commands.doctor.import_faults", lambda modules: {})  # tests/cli/test_doctor.py
    monkeypatch.setattr("apdraw_cli.commands.doctor.drawing_fault", lambda arguments: None)
    ended = apdraw(f"{line} --json")
    assert ended.object.keys() > FRAME
    assert ended.object["apdraw"] == __version__
    assert ended.object["command"] == line.split()[0]
    assert ended.object["exit_code"] == ended.code
    assert ended.object["error"] is None


@pytest.mark.parametrize("command", FAILURES)
def test_failure(apdraw: Any, command: str) -> None:
    arguments, code, kind = FAILURES[command]
    ended = apdraw(f"{command} {arguments} --json")
    error = ended.object["error"]
    assert ended.object == frame(command, code, error)
    assert error["code"] == kind
    assert ended.err.splitlines()[-1] == f"apdraw: error: {error['message']}"
    assert ended.code == code


@pytest.mark.parametrize("command", [command.name for command in app.COMMANDS])
def test_wrong_use(apdraw: Any, command: str) -> None:
    ended = apdraw(f"{command} --no-such-option --json")
    error = ended.object["error"]
    assert ended.object == frame(command, 2, error)
    assert error["code"] == "usage"
    assert error["message"].endswith(f"see: apdraw {command} --help")
    assert ended.err == f"apdraw: error: {error['message']}\n"


@pytest.mark.parametrize("line", ["--json", "no-such-command --json", "convert --jsonl --nope", "train --json"])
def test_wrong_use_before_a_command_is_known(apdraw: Any, line: str) -> None:
    ended = apdraw(line)
    assert (ended.code, ended.object["error"]["code"]) == (2, "usage")
    assert ended.object["exit_code"] == 2


def test_json_that_the_environment_asks_for(apdraw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APDRAW_CONVERT_JSON", "1")
    assert apdraw("convert photos --nope").object["error"]["code"] == "usage"
    assert apdraw("convert none").object["error"]["code"] == "usage"
    assert apdraw("doctor --nope").out == ""


def test_the_options_of_training_as_json(apdraw: Any) -> None:
    ended = apdraw("train --json --list-options")
    options = {option["name"]: option for option in ended.object["options"]}
    assert ended.code == 0
    assert len(options) == len(described(TrainOptions))
    assert "formal" in options["stage"]["choices"]


def test_warnings_of_the_program_are_in_the_object(apdraw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def warns(*arguments: object) -> dict[str, object]:
        logging.getLogger("apdraw.engines.select").warning("drawing on the %s", "CPU")
        return {"loss": float("nan"), "losses": {"a": [float("inf"), 1.5]}}

    monkeypatch.setattr("apdraw_cli.commands.doctor.doctor", warns)
    monkeypatch.setattr("apdraw_cli.cli.doctor._tell", lambda *arguments: None)
    ended = apdraw("doctor --json")
    assert ended.object["warnings"] == [{"code": "general", "message": "drawing on the CPU"}]
    assert ended.err == "apdraw: warning: drawing on the CPU\n"
    assert (ended.object["loss"], ended.object["losses"]) == (None, {"a": [None, 1.5]})


def test_an_error_of_the_program(apdraw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("apdraw_cli.commands.doctor.doctor", broken)
    ended = apdraw("doctor --json")
    assert (ended.code, ended.object["exit_code"], ended.object["error"]["code"]) == (3, 3, "internal")


def test_ctrl_c(apdraw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("apdraw_cli.commands.doctor.doctor", interrupted)
    ended = apdraw("doctor --json")
    assert (ended.code, ended.object["exit_code"], ended.object["error"]["code"]) == (130, 130, "interrupted")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("APDRAW_CONVERT_ENGINE", "abacus", "abacus"),
        ("APDRAW_CONVERT_MIN_FACE", "-1", "--min-face"),
        ("APDRAW_CONVERT_DEVICE", "gpu", "device must be"),
        ("APDRAW_CONVERT_MODEL", "none.onnx", "none.onnx"),
    ],
)
def test_options_come_from_the_environment_too(
    apdraw: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    ended = apdraw("convert photos")
    assert ended.code in (2, 3)
    assert told in ended.err
    assert len(ended.err.splitlines()) == 1


def test_what_is_typed_counts_more_than_the_environment(apdraw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APDRAW_CONVERT_FORMAT", "webp")
    assert "-> landscape.webp" in apdraw("convert photos --dry-run").out
    assert "-> landscape.jpg" in apdraw("convert photos --dry-run --format jpg").out


def test_help_of_train_shows_what_users_turn_and_lists_the_rest_elsewhere(apdraw: Any) -> None:
    shown, listed = apdraw("train --help"), apdraw("train --list-options")
    assert (shown.code, listed.code) == (0, 0)
    for name, (field, _) in described(TrainOptions).items():
        assert name.replace("_", "-") in listed.out
        assert (f"--{name.replace('_', '-')} " in shown.out) == field.metadata["common"], name


def test_options_of_a_command_do_not_shadow_each_other() -> None:
    for command in app.COMMANDS:
        names = [parameter.name for parameter in Parameters(command.run.__wrapped__, leave_out=("console",)).typed]
        assert len(set(names)) == len(names), command.name
