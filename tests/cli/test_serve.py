"""`apdraw serve` as a process: where it listens, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import stand_ins

from engines.select import shipped_model

pytest.importorskip("uvicorn")

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


REAL = ("-m", "apdraw_cli")
FAKE = (stand_ins.__file__,)


def begin(*arguments: str, program: tuple[str, ...] = REAL) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *program, "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.skipif(not shipped_model().exists(), reason="the shipped model is not here")
@pytest.mark.parametrize(("name", "program"), [("SIGINT", REAL), ("SIGTERM", FAKE)], ids=["SIGINT", "SIGTERM"])
def test_it_draws_until_it_is_asked_to_end(name: str, program: tuple[str, ...]) -> None:
    process = begin("--port", "0", "--json", program=program)
    assert process.stderr is not None
    address = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
    assert address is not None
    photo = (SAMPLES / "astronaut.png").read_bytes()
    with urllib.request.urlopen(urllib.request.Request(f"{address[0]}/draw", photo), timeout=300) as answer:
        assert answer.headers["content-type"] == "image/png"
        assert answer.read().startswith(b"\x89PNG")
    process.send_signal(signal.Signals[name])
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert (told["drawn"], told["refused"], told["address"], told["error"]) == (1, 0, address[0], None)


def test_a_port_that_is_taken_is_told_of_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = begin("--port", str(port), program=FAKE)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert f"cannot listen at 127.0.0.1:{port}" in err
