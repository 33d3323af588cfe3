"""No command looks up a name, connects to anything, or leaves a file in the user's home folder."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from evaluation_fakes import make_dataset

import apdraw_cli
from engines import offline
from engines.select import ENGINES
from train.model_file import save_generator
from train.networks import Generator, GeneratorConfig

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

WATCH = """
    import os, sys

    def refuse(event, arguments):
        is_far = event == "socket.connect" and isinstance(arguments[1], tuple)
        is_question = event.startswith(("socket.getaddrinfo", "socket.gethostby", "socket.getnameinfo"))
        if is_far or is_question or event == "urllib.Request":
            with open(os.environ["LOOKED_UP"], "a") as file:
                file.write(f"{event} {arguments}\\n")
            raise OSError("there is no network")

    sys.addaudithook(refuse)
"""
"""Runs at the start of every Python process, workers included: forbids the network and writes down who asked for it."""

USER_FOLDERS = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "APDRAW_CACHE")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, a data set, a model, and a `sitecustomize` that forbids the network."""
    folder = tmp_path_factory.mktemp("offline")
    for name in ("photos", "drawings"):
        (folder / name).mkdir()
        shutil.copy(SAMPLES / "grace_hopper.jpg", folder / name)
    make_dataset(folder / "dataset", ["one"], "train")
    save_generator(folder / "model.safetensors", Generator(GeneratorConfig(2)), {})
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(textwrap.dedent(WATCH))
    return folder


def environment(folder: Path, home: Path, looked_up: Path) -> dict[str, str]:
    changed = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "LOCALAPPDATA": str(home),
        "LOOKED_UP": str(looked_up),
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), *filter(None, sys.path)]),
    }
    removed = {*USER_FOLDERS, "CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}
    return {name: value for name, value in os.environ.items() if name not in removed} | changed


TINY_RUN = ("--width", "2", "--set", "discriminator-width=2", "--batch-size", "1", "--steps", "1", "--device", "cpu")

COMMANDS = {
    "doctor": ("doctor", "--json"),  # which imports all there is, and draws in OpenVINO
    "convert": ("convert", "photos", "-o", "{out}", "--workers", "1", "--engine", "onnxruntime"),
    "prepare": ("prepare", "photos", "{out}", "--drawings", "drawings", "--workers", "1"),
    "train": ("train", "dataset", "--stage", "pretrain", "-o", "{out}", "--set", "workers=1", *TINY_RUN),
    "evaluate": ("evaluate", "model.safetensors", "dataset", "--split", "train"),
    "build-engine": (
        *("build-engine", "{onnx}", "{out}.engine"),
        *("--flavor", "tensorrt-rtx", "--compute-capability", "8.9", "--optimization-level", "0"),
    ),
}


LIBRARIES = (
    *("train.export.to_onnx", "train.export.int8", "train.author_weights", "onnxscript.optimizer"),
    *("onnxruntime.quantization", "openvino", "torch.utils.tensorboard", "torchmetrics"),
)
"""Instead of an export and an import, which take long: what libraries send home they send when they are loaded."""

RUN = """
    import contextlib, importlib, io, json, sys, time
    from apdraw_cli.__main__ import main

    commands, libraries = map(json.loads, sys.argv[1:])
    found = {}
    for name, arguments in commands.items():
        sys.argv = ["apdraw", *arguments]
        with contextlib.redirect_stdout(io.StringIO()) as told:
            try:
                code = main()
            except SystemExit as ended:
                code = ended.code
        found[name] = code, told.getvalue()
        sys.stderr.write(f"{name} ended with {code}\\n")
    for library in libraries:
        importlib.import_module(library)
    time.sleep(2)
    print(json.dumps(found))
"""
"""Runs commands in one process, where what they import together is imported once."""


@pytest.fixture(scope="module")
def ran(folder: Path, tmp_path_factory: pytest.TempPathFactory, brightness_model: Path) -> dict[str, Any]:
    """Exit codes and outputs of all commands, what is in the home folder then, and what was looked up."""
    scratch = tmp_path_factory.mktemp("ran")
    commands = {
        name: [argument.format(out=scratch / f"out-{name}", onnx=brightness_model) for argument in arguments]
        for name, arguments in COMMANDS.items()
        if name != "build-engine" or importlib.util.find_spec("tensorrt_rtx") is not None
    }
    home, looked_up = scratch / "home", scratch / "looked_up"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RUN), json.dumps(commands), json.dumps(LIBRARIES)],
        cwd=folder,
        env=environment(folder, home, looked_up),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: code for name, (code, _) in found.items()} == dict.fromkeys(commands, 0), done.stderr
    return {
        "told": {name: text for name, (_, text) in found.items()},
        "left": [*home.rglob("*")],
        "looked up": looked_up.read_text() if looked_up.exists() else "",
    }


def test_no_command_looks_anything_up_or_leaves_a_file_at_home(ran: dict[str, Any]) -> None:
    assert ran["left"] == []
    assert ran["looked up"] == ""


def test_doctor_tells_of_this_machine(ran: dict[str, Any]) -> None:
    """Everything is tried: no part has a stand-in."""
    diagnosis = json.loads(ran["told"]["doctor"])
    assert diagnosis["version"] == apdraw_cli.__version__
    assert [row["name"] for row in diagnosis["engines"]] == list(ENGINES)
    assert all({"name", "version", "state", "remedy", "optional"} == row.keys() for row in diagnosis["parts"])
    assert diagnosis["trouble"] is None  # for its exit code was 0
    assert diagnosis["sample"]["state"].startswith("drawn on ")


ASK = """
    import openvino, onnxruntime
    import os, pathlib, time

    home, looked_up = pathlib.Path(os.environ["HOME"]), pathlib.Path(os.environ["LOOKED_UP"])
    end = time.monotonic() + 30

    def asked():
        kept = {path.name for path in home.rglob("*")} >= set(os.environ["KEPT"].split())
        return kept and looked_up.exists() and "google-analytics" in looked_up.read_text()

    while not asked() and time.monotonic() < end:
        time.sleep(0.05)
"""
"""Imports both libraries without our switch, and ends once they have asked."""


def test_the_watch_sees_what_openvino_would_ask_without_our_switch(folder: Path, tmp_path: Path) -> None:
    home, looked_up = tmp_path / "home", tmp_path / "looked_up"
    home.mkdir()
    kept = {"openvino_ga_cid"}
    if tuple(map(int, importlib.metadata.version("onnxruntime").split(".")[:2])) >= (1, 30):  # 1.28 keeps nothing
        kept.add("deviceid")
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ASK)],
        env={**environment(folder, home, looked_up), "KEPT": " ".join(kept)},
        check=True,
        timeout=60,
    )
    assert {path.name for path in home.rglob("*")} >= kept
    assert "google-analytics" in looked_up.read_text()


def test_a_program_that_uses_openvinos_telemetry_itself_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = object()
    monkeypatch.setitem(sys.modules, offline.OPENVINO_TELEMETRY, theirs)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    offline.stay_offline()
    assert sys.modules[offline.OPENVINO_TELEMETRY] is theirs
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
