"""Trials of what is installed, in processes of their own: a broken library may end the one that imports it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SAMPLE: Final = Path("train/samples/astronaut.jpg")
"""A photo that comes with the program, below the folder of its packages."""

MOST_SECONDS: Final = 300.0

_IMPORTS: Final = """
import importlib, json, sys
import engines  # first: it keeps libraries from calling home
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        fault = None
    except BaseException as error:
        fault = " ".join(str(error).split()) or type(error).__name__
    print(json.dumps([name, fault]), flush=True)
"""


def import_faults(modules: Sequence[str]) -> dict[str, str]:
    """Imports modules, and returns why each of those cannot be that is installed, but not usable."""
    faults: dict[str, str] = {}
    left = list(modules)
    while left:
        done, ended = _run(["-c", _IMPORTS, *left])
        told = [json.loads(line) for line in done.splitlines() if line.startswith("[")]
        faults |= {name: fault for name, fault in told if fault is not None}
        left = left[len(told) :]
        if left:
            faults[left.pop(0)] = ended
    return faults


def drawing_fault(arguments: Sequence[str]) -> str | None:
    """Draws a photo that comes with the program, as a user would; returns why it cannot be drawn, None if it was.

    Args:
        arguments: further arguments of `apdraw convert`.
    """
    photo = Path(__file__).parents[2] / SAMPLE
    try:
        with tempfile.TemporaryDirectory(prefix="apdraw-doctor-") as folder:
            command = ["-m", "apdraw_cli", "convert", str(photo), "--output", folder, "--json", "--workers", "0"]
            printed, ended = _run([*command, *arguments])
    except OSError as error:
        return f"no temporary folder can be made: {error.strerror or error}; set TMPDIR to a folder with room"
    try:
        result = json.loads(printed)
        if result["exit_code"] == 0:
            return None
        told = result["error"] or result["failures"][0]
        return str(told["message"])
    except (ValueError, LookupError, TypeError):
        return ended


def _run(arguments: Sequence[str]) -> tuple[str, str]:
    """Runs Python with what this process imports from; returns what it printed, and how it ended in words."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MOST_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"it did not end within {MOST_SECONDS:.0f} seconds"
    except OSError as error:
        return "", f"no process can be started: {error.strerror or error}"
    printed = done.stdout.decode(errors="replace")
    if done.returncode < 0:
        number = -done.returncode
        name = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
        why = "there may be too little memory" if name == "SIGKILL" else "a package is built for another machine"
        return printed, f"the process that tried it was ended by {name}: {why}"
    said = done.stderr.decode(errors="replace").split("\n")
    last = next((line for line in reversed(said) if line.strip()), f"exit code {done.returncode}")
    return printed, " ".join(last.split())
