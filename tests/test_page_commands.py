"""Every command in the README and in docs/ is run as it stands there, page by page, where the page's files are.

Faces and generators of conversions are stand-ins, and what would take hours gets the options in `SHORTER` besides. What
a machine of tests cannot run is in `NOT_RUN`, with the reason.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import joblib
import pytest
import stand_ins
import torch
from conversion_fakes import save_photo
from generators import Generators, author_states, timid_generator
from pages import PAGES, ROOT, shell_lines
from s3_server import s3_server

from apdraw_cli import app
from engines.select import shipped_model
from train.export import int8

NOT_RUN: Final = {
    r"git clone |cd apdraw$": "there is no address to clone from",
    r"python3? -m venv|py -m venv|source |\. \.venv|\.venv\\": "tests run in a virtual environment already",
    r"python -m (pip|pytest)": "installs, removes or tests what this very test runs with",
    r"docker |mkdir -p ~/\.cache/apdraw": "needs a container engine; tests/test_containers.py checks what can be",
    r"apdraw build-engine |apdraw .*--model generator\.engine": "needs an NVIDIA GPU; tests/cli/test_build_engine.py",
    r"apdraw train .*--set devices=4": "needs four GPUs",
    r"torchrun ": "needs two machines; tests/train/test_processes.py runs it as two processes",
    r"srun |#!|#SBATCH": "needs Slurm; the shards of this page are run",
    r"dask |apdraw .*--cluster ": "needs machines; tests/conversion/executors/test_cluster.py runs it on this one",
    r"moto_server |export AWS_": "the test starts the server itself, at a free port",
    r"python -m benchmarks\.": "measures for minutes, on a data set that is not here",
}
"""What is not run, and why."""

SHORTER: Final = {
    r"apdraw train (?!.*--resume)": "--steps 1 --width 2 --set discriminator-width=2 --set detector-width=2 "
    "--batch-size 1 --set workers=0",
    r"apdraw export (?!.*--precision)": "--precision fp32",  # half precision is tried for minutes
    r"apdraw convert .*--workers 15": "--workers 0",
}
"""What is said besides, of commands that would take long."""

SHELL: Final = set("|<>$;&")

RUN_TOGETHER: Final = ("training.md", "speed.md")
"""Pages on models, of which later ones use what the commands of earlier ones wrote."""


def reason_not_to_run(line: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, line)), None)


def lines_of(page: Path) -> Iterator[str]:
    """What is to be run of a page."""
    for line in shell_lines(page):
        for part in line.split(" && "):
            if reason_not_to_run(part) is None:
                yield part.removesuffix("&").strip()


DRAWING_PAGES: Final = [page for page in PAGES[:-1] if page.name not in RUN_TOGETHER and any(lines_of(page))]
"""Without the card of the models, whose recipes took days on data that is not here."""


class Terminal:
    """Runs lines as a user types them, in a folder.

    Args:
        folder: the current one.
        monkeypatch: undoes it all.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._server: subprocess.Popen[bytes] | None = None
        self._port = 0
        monkeypatch.chdir(folder)
        programs = folder.parent / "bin"
        programs.mkdir()
        python, stand_in = shlex.quote(sys.executable), shlex.quote(str(ROOT / "tests" / "stand_ins.py"))
        for name, called in (("apdraw", f"{python} {stand_in}"), ("python", python)):
            (programs / name).write_text(f'#!/bin/sh\nexec {called} "$@"\n')
            (programs / name).chmod(0o755)
        home = folder.parent / "home"
        home.mkdir()
        for name, value in {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        }.items():
            monkeypatch.setenv(name, value)
        stand_ins.put_in(monkeypatch.setattr)

    def run(self, line: str) -> None:
        """Runs a line, which has to end with exit code 0."""
        more = "".join(f" {words}" for pattern, words in SHORTER.items() if re.match(pattern, line))
        if re.match("apdraw convert .*--watch", line):
            self._watch(line)
        elif re.match("apdraw serve", line):
            self._serve(line)
        elif line.startswith("apdraw ") and not SHELL & set(line) and "--install-completion" not in line:
            self._call(line + more)
        else:
            self._in_a_shell(line)

    def end(self) -> None:
        """Ends the server, if one was started."""
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            _, told = self._server.communicate(timeout=120)
            assert self._server.returncode == 0, told
            self._server = None

    def _call(self, line: str) -> None:
        words = shlex.split(line)
        self._monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert not ended.value.code, line

    def _in_a_shell(self, line: str) -> None:
        if self._port:
            line = line.replace("127.0.0.1:8000", f"127.0.0.1:{self._port}")
        program = line.split()[0]
        if shutil.which(program) is None and program not in ("wait",):
            pytest.skip(f"needs {program}")
        # Completion asks which shell has called: bash would be replaced by the program if this were all that it runs.
        done = subprocess.run(["bash", "-c", f"set -o pipefail\n{line}\nexit $?"], capture_output=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr.decode()}"

    def _watch(self, line: str) -> None:
        """Lets it draw a photo that arrives, and presses Ctrl-C."""
        pytest.importorskip("watchfiles")
        process = subprocess.Popen(shlex.split(line), stderr=subprocess.PIPE)
        save_photo(self.folder / "photos" / "arrives.png")
        try:
            _until((self.folder / "photos-drawings" / "arrives.png").exists, process)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 0, told

    def _serve(self, line: str) -> None:
        """Starts it at a port that is free, which is taken for that of the page from now on."""
        pytest.importorskip("uvicorn")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._server = subprocess.Popen(
            [*shlex.split(line), "--port", str(self._port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

        def answers() -> bool:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=10).close()
            except OSError:
                return False
            return True

        _until(answers, self._server)


def _until(there: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 300
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    folder = tmp_path / "here"
    folder.mkdir()
    opened = Terminal(folder, monkeypatch)
    yield opened
    opened.end()


def test_reasons_are_of_commands_that_there_are() -> None:
    lines = [part for page in PAGES[:-1] for line in shell_lines(page) for part in line.split(" && ")]
    assert len(lines) > 140
    for pattern in (*NOT_RUN, *SHORTER):
        assert any(re.match(pattern, line) for line in lines), pattern
    assert sum(reason_not_to_run(line) is None for line in lines) > 80


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
@pytest.mark.parametrize("page", DRAWING_PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, terminal: Terminal, request: pytest.FixtureRequest) -> None:
    for name in ("photos/a.png", "photos/b.png", "samples/astronaut.png", "me.jpg", "you.jpg", "party.jpg"):
        save_photo(terminal.folder / name, 120)
    lines = list(lines_of(page))
    if any("s3://" in line for line in lines):
        files = request.getfixturevalue("bucket")
        lines.sort(key=lambda line: "import s3fs" not in line)  # the page tells at its end how to fill a bucket
        terminal.run(lines.pop(0))
        files.put(str(shipped_model()), "studio/models/ours.onnx")
    for line in lines:
        if "s3://" in line:  # what the line before wrote is of another way that the page tells
            shutil.rmtree(terminal.folder / "drawings", ignore_errors=True)
            if drawings := files.find("studio/drawings"):
                files.rm(drawings)
        terminal.run(line)


@pytest.fixture
def bucket(terminal: Terminal) -> Iterator[Any]:
    """A server of S3 that lines of a page find."""
    s3fs = pytest.importorskip("s3fs")
    with s3_server():
        yield s3fs.S3FileSystem(use_listings_cache=False)


@pytest.mark.slow  # each command has quicker tests in tests/cli, and tests/test_docs.py parses every line
@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_the_commands_on_models_run(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, generators: Generators
) -> None:
    """One after the other, on two photos, on which networks two channels wide are trained for a step.

    What was drawn or written by the very same line before is not made again.
    """
    folder = terminal.folder
    for name in ("photos", "few", "drawings"):
        (folder / name).mkdir()
    for name in ("astronaut.png", "grace_hopper.jpg"):
        for place in ("photos", "few"):
            shutil.copy(ROOT / "samples" / name, folder / place)
        photo = cv2.imread(str(ROOT / "samples" / name), cv2.IMREAD_GRAYSCALE)
        edges = cv2.adaptiveThreshold(photo, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 15, 8)
        cv2.imwrite(str(folder / "drawings" / Path(name).with_suffix(".png").name), edges)
    (folder / "split.csv").write_text("file,split\nastronaut.png,train\ngrace_hopper.jpg,val\n")
    (folder / "checkpoints" / "formal").mkdir(parents=True)
    torch.save(author_states(timid_generator()), folder / "checkpoints" / "formal" / "latest_net_gen.pt")
    generators.patch(monkeypatch)
    monkeypatch.setattr(int8, "LARGEST_SHARE", 1.0)  # drawings of fresh weights hang on every bit
    torch.set_num_threads(1)
    threads, done = cv2.getNumThreads(), set[str]()
    with joblib.parallel_config(backend="threading"):  # processes, in tests/train/test_redraw.py, take long to start
        for name in RUN_TOGETHER:
            for line in lines_of(ROOT / "docs" / name):
                if line in done:
                    continue
                done.add(line)
                if run := re.match(r"apdraw train (?!.*--resume).*--output (\w+)", line):
                    shutil.rmtree(folder / run[1], ignore_errors=True)  # of another way that the page tells
                terminal.run(line)
    cv2.setNumThreads(threads)
    assert (folder / "formal" / "generator.safetensors").exists()
    assert (folder / "author.int8.onnx").exists()
