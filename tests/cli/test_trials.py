"""What is installed is tried in processes of its own, so that whatever is broken is told."""

import json
import sys
from pathlib import Path

import pytest

from apdraw_cli.commands import trials
from apdraw_cli.commands.trials import drawing_fault, import_faults


def test_modules_that_cannot_be_imported_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lacks_a_library.py").write_text('raise ImportError("libGL.so.1: cannot open\\nshared object file")')
    (tmp_path / "broken_wheel.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    monkeypatch.syspath_prepend(tmp_path)
    faults = import_faults(["json", "lacks_a_library", "broken_wheel", "decimal", "no_such_module"])
    assert faults.pop("lacks_a_library") == "libGL.so.1: cannot open shared object file"
    assert "no_such_module" in faults.pop("no_such_module")
    if sys.platform != "win32":
        assert "ended by SIGILL: a package is built for another machine" in faults.pop("broken_wheel")
        assert faults == {}


def test_a_sample_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert drawing_fault(["--device", "cpu"]) is None
    assert list(tmp_path.iterdir()) == []
    assert "there is no model" in str(drawing_fault(["--model", str(tmp_path / "none.onnx")]))


@pytest.mark.parametrize(
    ("printed", "ended", "fault"),
    [
        ({"exit_code": 0, "error": None, "failures": []}, "", None),
        ({"exit_code": 3, "error": {"code": "unfit", "message": "no detector"}, "failures": []}, "", "no detector"),
        ({"exit_code": 1, "error": None, "failures": [{"message": "no face found"}]}, "", "no face found"),
        ("", "ended by SIGSEGV", "ended by SIGSEGV"),
    ],
)
def test_why_it_cannot_be_drawn(
    monkeypatch: pytest.MonkeyPatch, printed: object, ended: str, fault: str | None
) -> None:
    monkeypatch.setattr(trials, "_run", lambda arguments: (json.dumps(printed) if printed else "", ended))
    assert drawing_fault([]) == fault


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
@pytest.mark.parametrize(("name", "told"), [("SIGKILL", "too little memory"), ("SIGILL", "built for another machine")])
def test_a_process_that_the_system_ends_is_told(name: str, told: str) -> None:
    program = f"import os, signal; os.kill(os.getpid(), signal.{name})"
    printed, ended = trials._run(["-c", program])
    assert printed == ""
    assert name in ended
    assert told in ended


def test_no_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trials.tempfile, "TemporaryDirectory", full)
    assert drawing_fault([]) == (
        "no temporary folder can be made: No space left on device; set TMPDIR to a folder with room"
    )
