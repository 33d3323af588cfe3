"""Runs in processes of their own: killed, asked to stop, broken, and several that train together."""

import json
import os
import random
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import forked
import pytest
import torch
from training_runs import assert_same_weights

from train import loop
from train.checkpoint import checkpoints, load_checkpoint
from train.options import resolve
from train.run_log import read_metrics
from train.starting_weights import Inputs
from train.stop_signals import GRACE_SECONDS

pytestmark = [
    pytest.mark.usefixtures("one_portrait_shown"),
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals of Unix"),
]

STEPS = 10
LONG = resolve(
    {"stage": "pretrain", "steps": STEPS, "width": 2, "local_networks": False, "device": "cpu"}
    | {"discriminator_width": 2, "save_every": 1, "log_every": 1, "picture_every": STEPS, "workers": 1}
)


def arguments(dataset: Path, run: Path, *more: str) -> list[str]:
    """Of `apdraw` for a run of `LONG`."""
    options = ["--stage", "pretrain", "--steps", str(STEPS), "--width", "2", "--device", "cpu"]
    for option in ("discriminator-width=2", "local-networks=false", "save-every=1", "log-every=1", "workers=1"):
        options += ["--set", option]
    options += ["--set", f"picture-every={STEPS}"]
    return ["train", str(dataset), "--output", str(run), *options, *more]


def finish(dataset: Path, run: Path) -> None:
    """What such a run does, in this process, from the newest checkpoint on where there is one."""
    result = loop.train(Inputs(dataset), run, LONG, resume=bool(checkpoints(run)))
    assert result is not None


@pytest.fixture(scope="module")
def long_run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "long"
    finish(tiny_dataset, run)
    return run


def wait_for(run: Path, process: subprocess.Popen[bytes] | BaseProcess, count: int) -> None:
    """Until the run has written `count` lines of metrics, or ended."""

    def runs() -> bool:
        return (process.exitcode if isinstance(process, BaseProcess) else process.poll()) is None

    limit = time.monotonic() + 120
    while runs() and time.monotonic() < limit:
        file = run / "metrics.jsonl"
        if file.exists() and len(file.read_bytes().splitlines()) >= count:
            return
        time.sleep(0.01)


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_anywhere_it_ends_as_if_it_had_not_been(
    tiny_dataset: Path, long_run: Path, tmp_path: Path, kills: int
) -> None:
    run, rng, resume = tmp_path / "run", random.Random(0), []
    for kill in range(kills):
        process = forked.start(["apdraw_cli", *arguments(tiny_dataset, run, *resume)], tmp_path / "said")
        wait_for(run, process, 1 + kill * (STEPS - 1) // kills)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.join()
        resume = ["--resume"] if checkpoints(run) else []
    finish(tiny_dataset, run)
    assert_same_weights(long_run / "generator.safetensors", run / "generator.safetensors")
    steps = [line["step"] for line in read_metrics(run)]
    assert steps == list(range(1, STEPS + 1))
    assert not list((run / "checkpoints").glob(".*"))


def test_asked_to_stop_with_all_its_processes_it_saves_first(
    tiny_dataset: Path, long_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "apdraw_cli", *arguments(tiny_dataset, run, "--set", "save-every=100")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(run, process, 1)
    os.killpg(process.pid, signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"go on with the same command and --resume" in said
    assert b"Traceback" not in errors
    step = load_checkpoint(run)["step"]
    assert 1 <= step < STEPS
    finish(tiny_dataset, run)
    assert_same_weights(long_run / "generator.safetensors", run / "generator.safetensors")


def ask_until(limit: float, session: int) -> None:
    """Asks for the processes of a session; raises ProcessLookupError where there is none any more."""
    while time.time() < limit:
        os.killpg(session, 0)
        time.sleep(0.01)


def test_a_broken_run_leaves_no_process_and_ends_at_once(tiny_dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    (copy / "drawings" / "1.png").write_bytes(b"no picture")
    # Of what is shown there must be nothing to complain: the process that reads is to meet it.
    index = [json.loads(line) for line in (copy / "index.jsonl").read_text().splitlines()]
    index[0]["split"] = "val"
    (copy / "index.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in index))
    run = tmp_path / "run"
    process = forked.start(["apdraw_cli", *arguments(copy, run)], tmp_path / "said")
    process.join(120)
    assert process.exitcode == 2
    began = (run / "config.toml").stat().st_mtime  # written once all is imported
    with pytest.raises(ProcessLookupError):
        ask_until(began + GRACE_SECONDS, process.pid)
    errors = (tmp_path / "said.err").read_text()
    assert "drawings/1.png" in errors
    assert errors.count("apdraw: error") == 1
    assert "Traceback" not in errors


def started_together(script: str, dataset: str, out: str) -> None:
    """Two processes that the first one starts."""
    run_side_by_side([[script, dataset, out, "2", "1"]], [{}], Path(out))


def started_by_torchrun(script: str, dataset: str, out: str) -> None:
    """A torchrun for each of two machines, which are both this one."""
    first = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", free_port()]
    commands = [["torch.distributed.run", "--node-rank", rank, *first, script, dataset, out, "1", "1"] for rank in "01"]
    run_side_by_side(commands, [{}, {}], Path(out))


def started_on_two_machines(script: str, dataset: str, out: str) -> None:
    """The same without torchrun itself, which takes long to start: with the variables that it sets."""
    world = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "2"}
    world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "TORCHELASTIC_RUN_ID": "none"}
    variables = [{**world, "RANK": rank, "GROUP_RANK": rank} for rank in "01"]
    run_side_by_side([[script, dataset, out, "1", "1"]] * 2, variables, Path(out))


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run_side_by_side(commands: list[list[str]], variables: list[dict[str, str]], out: Path) -> None:
    processes = [
        forked.start(command, out.with_suffix(f".{rank}"), more)
        for rank, (command, more) in enumerate(zip(commands, variables, strict=True))
    ]
    try:
        for process in processes:
            process.join(300)
        errors = [path.read_text() for path in out.parent.glob("*.err")]
        assert [process.exitcode for process in processes] == [0] * len(processes), errors
    finally:
        for process in processes:
            process.kill()


DDP_SCRIPT = str(Path(__file__).with_name("ddp_gradients.py"))


@pytest.fixture(scope="module")
def gradients_of_one(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The gradients of a step on one process, by the names of weights."""
    out = str(tmp_path_factory.mktemp("gradients") / "one.pt")
    runpy.run_path(DDP_SCRIPT)["main"](str(tiny_dataset), out, 1, 2)
    return dict(torch.load(out, weights_only=True))


@pytest.mark.parametrize(
    "start",
    [started_together, started_on_two_machines, pytest.param(started_by_torchrun, marks=pytest.mark.slow)],
    ids=lambda start: start.__name__,
)
def test_two_processes_have_the_gradients_of_one(
    tiny_dataset: Path,
    gradients_of_one: dict[str, torch.Tensor],
    tmp_path: Path,
    start: Callable[[str, str, str], None],
) -> None:
    out = str(tmp_path / "two.pt")
    start(DDP_SCRIPT, str(tiny_dataset), out)
    one, two = gradients_of_one, torch.load(out, weights_only=True)
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        # Some gradients nearly cancel out, and there the order of additions shows; a sum for a mean would be 1 off.
        allowed = 1e-3 * float(gradient.abs().max()) + 1e-6
        torch.testing.assert_close(two[name], gradient, atol=allowed, rtol=0, msg=name)
