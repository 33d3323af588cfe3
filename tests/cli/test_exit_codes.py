"""Which exit code a command ends with, situation by situation: scripts go by them."""

import errno
import os
from pathlib import Path

import pytest
from conversion_fakes import save_photo
from typer.testing import CliRunner

from apdraw_cli import app
from engines import errors


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photo without a face, an empty folder, and files that are no models."""
    monkeypatch.chdir(tmp_path)
    save_photo(tmp_path / "photos" / "landscape.png", 0)
    (tmp_path / "empty").mkdir()
    for name in ("bad.onnx", "bad.safetensors", "bad.engine", "bad.pt"):
        (tmp_path / name).write_bytes(b"no model")
    (tmp_path / "unknown.toml").write_text("colour = 'green'\n")
    return tmp_path


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (0, "--version"),
        (0, "convert empty"),
        (0, "convert photos --dry-run"),
        (2, "convert"),
        (2, "convert photos --nope"),
        (2, "convert photos --engine abacus"),
        (2, "convert photos --device gpu"),
        (2, "convert photos --batch-size 0"),
        (2, "convert none"),
        (2, "convert photos -o photos"),
        (2, "convert photos --aligned --faces all"),
        (3, "convert photos --model none.onnx"),
        (3, "convert photos --model bad.onnx"),
        (3, "convert photos --model bad.engine"),
        (2, "prepare photos dataset"),
        (2, "prepare none dataset --npr"),
        (2, "prepare empty dataset --npr"),
        (2, "prepare photos dataset --npr --min-agreement 0.3"),
        (2, "train none --output run"),
        (2, "train empty --output run"),
        (2, "train empty --output run --epochs 0"),
        (2, "train empty --output run --config none.toml"),
        (2, "train empty --output run --config unknown.toml"),
        (2, "evaluate none.onnx empty"),
        (2, "evaluate empty empty --engine torch"),
        (2, "evaluate bad.onnx empty --no-fid --features bad.pt"),
        (2, "import-weights none out.onnx"),
        (3, "import-weights none out.safetensors"),
        (3, "import-weights bad.pt out.safetensors"),
        (2, "export bad.onnx out.onnx"),
        (2, "export bad.safetensors out.safetensors"),
        (2, "export bad.safetensors out.onnx --precision int8"),
        (3, "export bad.safetensors out.onnx"),
        (3, "export none.safetensors out.onnx"),
        (2, "build-engine bad.pt out.engine"),
        (2, "build-engine bad.onnx out.onnx"),
        (3, "build-engine bad.onnx out.engine"),
        (2, "bench empty"),
        (2, "bench photos --model bad.safetensors"),
        (3, "doctor --model none.onnx"),
    ],
)
def test_the_exit_code_of_a_situation(here: Path, code: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apdraw_cli.commands.doctor.import_faults", lambda modules: {})  # tests/cli/test_doctor.py
    result = CliRunner().invoke(app.app, line.split(), prog_name="apdraw")
    assert result.exit_code == code
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (2, errors.UsageError("x")),
        (2, errors.OptionsError("x")),
        (2, errors.DatasetError("x")),
        (3, errors.UnfitError("x")),
        (3, errors.FileWriteError("x")),
        (3, errors.EngineError("x")),
        (3, errors.ModelFileError("x")),
        (3, errors.CudaError("cudaMalloc", "cudaErrorUnknown", "x")),
        (3, errors.ModelError("x")),
        (3, errors.CheckpointError("x")),
        (3, errors.TrainingError("x")),
        (3, errors.FeaturesError("x")),
        (3, ZeroDivisionError("x")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_any_command_with_its_code(monkeypatch: pytest.MonkeyPatch, code: int, error: Exception) -> None:
    def fails(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("apdraw_cli.commands.gallery.gallery", fails)
    result = CliRunner().invoke(app.app, ["gallery", "drawings"])
    assert (result.exit_code, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("apdraw: error: ")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.ENOMEM])
def test_a_fault_of_the_machine_is_no_error_in_apdraw(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fails(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("apdraw_cli.commands.gallery.gallery", fails)
    result = CliRunner().invoke(app.app, ["gallery", "drawings"])
    assert result.exit_code == 3
    assert "report it" not in result.stderr


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("apdraw_cli.commands.doctor.doctor", interrupted)
    assert CliRunner().invoke(app.app, ["doctor"]).exit_code == 130
