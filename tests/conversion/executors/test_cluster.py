"""Photos are drawn on a cluster of Dask: a scheduler and workers that are processes of their own, on this machine."""

import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import (
    CRASHES,
    Desk,
    FakeEngine,
    Recorder,
    fake_extractor,
    manifest_lines,
    save_photo,
)
from s3_server import access, s3_server

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion.executors import cluster
from apdraw_cli.conversion.executors.cluster_worker import keep_model
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import ConvertResult, Outcome
from apdraw_cli.conversion.storage import open_storage
from engines.errors import UnfitError, UsageError
from engines.options import EngineOptions

pytestmark = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs dask.distributed")

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def slow_engine(options: EngineOptions, model: Path) -> FakeEngine:
    return FakeEngine(seconds=0.2, batch_size=1)


def quick_engine(options: EngineOptions, model: Path) -> FakeEngine:
    if model.read_bytes() != b"a model":
        raise AssertionError("another model")
    return FakeEngine()


def broken_engine(options: EngineOptions, model: Path) -> FakeEngine:
    raise UnfitError("the device is gone; use --device cpu")


class Cluster:
    """A scheduler and workers; what they print goes to files. They find a server of S3, if one is started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port_of_s3 = free.getsockname()[1]
        self.access = access(f"http://127.0.0.1:{self.port_of_s3}")
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_again(self) -> None:
        """Starts another scheduler, and a worker that knows it."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.scheduler = self.start_scheduler()
        self.mend(1)

    def mend(self, least: int = 2) -> None:
        """Has so many workers, however many tests before have killed."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < least:
            self.start_worker()

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        self.file.unlink(missing_ok=True)
        said = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file), "--dashboard-address", ":0")
        started = self._start("scheduler", *said)
        wait_until(self.file.exists)
        return started

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_text())["address"])

    def start_worker(self, **environment: str) -> None:
        cache = self.folder / f"cache-{len(self.processes)}"
        said = ("--nthreads", "2", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder))
        variables = {"XDG_CACHE_HOME": str(cache), **self.access, **environment}
        self.workers.append(self._start("worker", "--scheduler-file", str(self.file), *said, **variables))

    def _start(self, what: str, *said: str, **environment: str) -> subprocess.Popen[bytes]:
        path = [*environment.pop("PYTHONPATH", "").split(os.pathsep), str(Path(__file__).parent), *sys.path]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment}
        with (self.folder / f"{what}-{len(self.processes)}.log").open("wb") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "dask", what, *said], stdout=log, stderr=log, env=variables
            )
        self.processes.append(started)
        return started

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


def wait_until(true: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler. Tests that kill workers, or it, come last: to start others takes long."""
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.stop()


@pytest.fixture
def machines(lasting: Cluster) -> Cluster:
    """A scheduler and two workers at least, which tests may kill."""
    lasting.mend()
    return lasting


def drawn(
    desk: Desk, machines: Cluster, engine: Any = quick_engine, listener: Any = None, **said: Any
) -> ConvertResult:
    options = desk.options(**{"cluster": str(machines.file), "output": desk.out, **said})
    return convert(options, listener or Recorder(), open_engine=engine, open_extractor=fake_extractor)


def fill(desk: Desk, photos: int = 11) -> None:
    for number in range(photos):
        save_photo(desk.photos / ("", "a", "a/b")[number % 3] / f"p{number}.png", 100 + number)
    save_photo(desk.photos / "a" / "no-face.png", 0)


def told(folder: Path) -> dict[str, dict[str, Any]]:
    lines = manifest_lines(folder)
    assert max(Counter(line["source"] for line in lines).values()) == 1, "each photo is in the manifest once"
    return {line["source"]: {name: line[name] for name in line if name != "seconds"} for line in lines}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


class Kills(Recorder):
    """Kills a process once so many photos are drawn."""

    def __init__(self, process: subprocess.Popen[bytes], after: int) -> None:
        super().__init__()
        self.process, self.after = process, after

    def settled(self, outcome: Outcome) -> None:
        super().settled(outcome)
        if len(self.outcomes) == self.after:
            self.process.kill()
            self.process.wait()


def test_a_cluster_draws_what_one_machine_draws(desk: Desk, machines: Cluster, tmp_path: Path) -> None:
    fill(desk)
    listener = Recorder()
    result = drawn(desk, machines, listener=listener)
    assert (result.done, result.no_face, result.error, result.engine) == (11, 1, None, "fake")
    assert listener.workers is not None
    desk.convert(output=tmp_path / "here")
    assert files(desk.out) == files(tmp_path / "here")
    assert told(desk.out) == told(tmp_path / "here")
    kept = list(machines.folder.rglob("model.onnx"))
    assert kept == [], "both find the model where it lies, by its checksum"
    again = drawn(desk, machines)
    assert (again.done, again.skipped, again.remembered) == (0, 11, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a path that means another file in each process")
def test_workers_without_the_model_are_sent_it_once(
    desk: Desk, machines: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(desk)
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path / "own")
    Path("own.onnx").write_bytes(b"a model")
    said = {"model": Path("/proc/self/cwd/own.onnx")}
    assert drawn(desk, machines, **said).done == 11
    kept = {path: path.stat().st_mtime_ns for path in machines.folder.rglob("own.onnx")}
    assert 1 <= len(kept) <= 2  # one worker may have drawn all
    for path in kept:
        assert path.read_bytes() == b"a model"
        assert path.parent.name == hashlib.sha256(b"a model").hexdigest()
    assert drawn(desk, machines, existing="overwrite", **said).done == 11
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in machines.folder.rglob("own.onnx")}.items()


def test_no_scheduler_is_told_in_a_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    save_photo(desk.photos / "p.png")
    options = desk.options(cluster="tcp://127.0.0.1:9")
    result = convert(options, Recorder(), open_engine=quick_engine, open_extractor=fake_extractor)
    assert result.exit_code == 3
    assert result.error is not None
    assert result.error.startswith("no Dask scheduler answers at tcp://127.0.0.1:9")
    assert "\n" not in result.error


def test_other_versions_and_broken_engines_are_told_in_a_line(desk: Desk, machines: Cluster, tmp_path: Path) -> None:
    save_photo(desk.photos / "p.png")
    result = drawn(desk, machines, broken_engine)
    assert (result.error, result.exit_code) == ("the device is gone; use --device cpu", 3)
    other = tmp_path / "other" / "apdraw-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: apdraw\nVersion: 0.0.1\n")
    machines.start_worker(PYTHONPATH=str(other.parent))
    from distributed import Client

    with Client(scheduler_file=str(machines.file)) as client:
        client.wait_for_workers(len(machines.workers), timeout=60)
        result = drawn(desk, machines)
        machines.workers[-1].kill()
        machines.workers[-1].wait()
        wait_until(lambda: len(client.nthreads()) < len(machines.workers))
    assert result.error is not None
    assert "has apdraw 0.0.1, this command" in result.error
    assert result.error.endswith("install the same version on all machines")


def test_memory_of_this_process_is_no_place_for_a_cluster(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    options = desk.options(cluster="tcp://127.0.0.1:9", output="memory://drawings")
    with pytest.raises(UsageError, match="memory of one process"):
        convert(options, Recorder(), open_engine=quick_engine, open_extractor=fake_extractor)


def test_it_stops_when_asked(desk: Desk, machines: Cluster) -> None:
    fill(desk, 40)
    stop = threading.Event()

    class Stops(Recorder):
        def settled(self, outcome: Outcome) -> None:
            stop.set()

    options = desk.options(cluster=machines.address, output=desk.out)
    result = convert(options, Stops(), open_engine=slow_engine, open_extractor=fake_extractor, stop=stop)
    assert result.interrupted
    assert 0 < result.done < 40
    assert len(told(desk.out)) == result.photos  # what was being drawn was finished and noted


def test_a_bucket_is_drawn_on_a_cluster(desk: Desk, machines: Cluster) -> None:
    s3fs = pytest.importorskip("s3fs")
    with s3_server(machines.port_of_s3):
        s3fs.S3FileSystem().mkdir("studio")
        fill(desk)
        photos = open_storage("s3://studio/photos")
        for path in desk.photos.rglob("*.png"):
            photos.write({path.relative_to(desk.photos).as_posix(): path.read_bytes()})
        result = drawn(desk, machines, sources=("s3://studio/photos",), output="s3://studio/drawings")
        there = open_storage("s3://studio/drawings")
        found = {name: there.read(name, 10**6) for name, _ in there.keys()}  # noqa: SIM118
    assert (result.done, result.no_face, result.error) == (11, 1, None)
    desk.convert()
    assert {name: data for name, data in found.items() if name.endswith(".png")} == files(desk.out)


def test_a_photo_that_kills_workers_is_given_up_after_two(desk: Desk, machines: Cluster) -> None:
    fill(desk, 5)
    machines.start_worker()
    save_photo(desk.photos / "a" / "p1x.png", mark=CRASHES)
    result = drawn(desk, machines)
    assert (result.done, result.no_face, result.failed, result.error) == (5, 1, 1, None)
    assert [(failure.source, failure.code) for failure in result.failures if failure.code != "no_face"] == [
        ("a/p1x.png", "worker_died")
    ]
    assert [worker.poll() for worker in machines.workers].count(-signal.SIGKILL) == 2
    assert told(desk.out)["a/p1x.png"]["status"] == "failed"


def test_what_a_lost_worker_had_is_done_elsewhere(desk: Desk, machines: Cluster) -> None:
    fill(desk, 14)
    result = drawn(desk, machines, slow_engine, Kills(machines.workers[0], after=3))
    assert (result.done, result.no_face, result.failed, result.error) == (14, 1, 0, None)
    assert len(told(desk.out)) == 15
    assert len(files(desk.out)) == 14


def test_when_the_scheduler_is_lost_the_same_command_goes_on(desk: Desk, lasting: Cluster) -> None:
    fill(desk, 14)
    lasting.mend(1)
    result = drawn(desk, lasting, slow_engine, Kills(lasting.scheduler, after=3))
    assert result.exit_code == 3
    assert result.error is not None
    assert "is lost; what is drawn is kept" in result.error
    assert "\n" not in result.error
    assert 1 <= result.done < 14
    lasting.start_again()
    rest = drawn(desk, lasting, slow_engine)
    assert (rest.done + result.done, rest.error, rest.exit_code) == (14, None, 1)
    assert len(told(desk.out)) == 15


@pytest.mark.slow
def test_a_cluster_of_this_machine_draws_real_photos(tmp_path: Path) -> None:
    few = tmp_path / "photos"
    few.mkdir()
    for photo in (*SAMPLES.glob("*.jpg"), *SAMPLES.glob("*.png")):
        (few / photo.name).write_bytes(photo.read_bytes())
    results = []
    for name, said in (("here", {"workers": 0}), ("there", {"cluster": "local", "workers": 0})):
        results.append(convert(ConvertOptions.of(str(few), output=tmp_path / name, **said), Recorder()))
    assert results[0].done == results[1].done > 0
    assert results[1].error is None
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert told(tmp_path / "there") == told(tmp_path / "here")


def test_a_model_is_kept_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_model("m.onnx", "abc", b"a model")
    (kept,) = tmp_path.rglob("m.onnx")
    assert (kept.parent.name, kept.read_bytes()) == ("abc", b"a model")
