"""How a conversion begins and ends: engines and workers that open, fail or run out of room, and users that stop it."""

import errno
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import (
    Desk,
    FakeEngine,
    FakeExtractor,
    Recorder,
    codes,
    fake_extractor,
    manifest_lines,
    save_photo,
    unfit_extractor,
)
from PIL import Image as Pillow

from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.outcome import ConvertResult, Outcome
from apdraw_cli.conversion.storage.local import LocalStorage
from apdraw_cli.own_process import stop_requests
from engines.errors import EngineError, UnfitError, UsageError
from engines.options import EngineOptions
from engines.tensorrt.cuda import Gpu


class OutOfMemory(FakeExtractor):
    def extract(self, photo: Any, timings: Any, landmarks: Any = None) -> Any:
        if photo.shape[0] == 512:  # not the small one that it is tried on
            raise MemoryError
        return super().extract(photo, timings, landmarks)


def test_want_of_memory_for_all_photos_is_the_machines_fault_and_not_remembered(desk: Desk) -> None:
    for number in range(2):
        Pillow.new("RGB", (512, 512), (9, 9, 9)).save(desk.photos / f"p{number}.png")
    result = desk.convert(extractor=OutOfMemory)
    assert set(codes(result).values()) == {"out_of_memory"}
    assert (result.exit_code, result.remembered) == (3, 0)
    assert "memory" in str(result.error)
    save_photo(desk.photos / "good.png", 10)
    again = desk.convert(extractor=OutOfMemory)
    assert (again.done, again.failed, again.remembered, again.exit_code) == (1, 2, 0, 1)
    assert desk.convert().remembered == 0


def test_an_engine_that_fails_ends_it_and_keeps_what_is_done(desk: Desk) -> None:
    for number in range(30):
        save_photo(desk.photos / f"p{number:02}.png", 10 + number)
    result = desk.convert(FakeEngine(fails_after=8, batch_size=2))
    assert result.exit_code == 3
    assert result.error == "the device is gone; use --device cpu"
    assert result.done == len(desk.drawings()) >= 8
    done = desk.convert()
    assert done.exit_code == 0
    assert done.skipped == result.done
    assert len(desk.drawings()) == 30


def test_a_fault_of_the_machine_is_no_error_in_apdraw(desk: Desk) -> None:
    def no_thread(options: EngineOptions, model: Path) -> FakeEngine:
        raise RuntimeError("can't start new thread")

    save_photo(desk.photos / "p.png")
    result = desk.convert(no_thread)
    assert result.exit_code == 3
    assert "ulimit -u" in str(result.error)
    assert "report it" not in str(result.error)


def test_an_engine_that_cannot_be_opened(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")

    def cannot(options: EngineOptions, model: Path) -> FakeEngine:
        raise EngineError("there is no GPU here; use --device cpu")

    result = desk.convert(cannot)
    assert (result.exit_code, result.error) == (3, "there is no GPU here; use --device cpu")


def traced_extractor(folder: Path, options: FaceOptions) -> FakeExtractor:
    """Leaves a file that names the process that it was opened in."""
    (folder / str(os.getpid())).touch()
    return FakeExtractor(options)


def process_of_first_worker(folder: Path) -> int:
    """Waits until a worker has opened its extractor."""
    for _ in range(600):
        traces = list(folder.iterdir())
        if traces:
            return int(traces[0].name)
        time.sleep(0.1)
    pytest.fail("no worker has started")


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def test_workers_start_while_the_engine_opens(desk: Desk, traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        save_photo(desk.photos / f"{number}.png")

    def slow(options: EngineOptions, model: Path) -> FakeEngine:
        assert process_of_first_worker(traces) != os.getpid()
        return FakeEngine()

    monkeypatch.setattr("apdraw_cli.conversion.executors.local.find_gpus", lambda: ())
    result = desk.convert(slow, extractor=partial(traced_extractor, traces), workers=None)
    assert (result.exit_code, result.done) == (0, 6)


@pytest.mark.parametrize(("device", "workers"), [("cuda:0", 3), ("cpu", 1)])
def test_where_there_is_a_gpu_as_many_workers_start_as_it_needs(
    desk: Desk, traces: Path, monkeypatch: pytest.MonkeyPatch, device: str, workers: int
) -> None:
    """They start while the engine opens, and make room again if that draws on the CPU after all."""
    for number in range(6):
        save_photo(desk.photos / f"{number}.png")

    def slow(options: EngineOptions, model: Path) -> FakeEngine:
        assert process_of_first_worker(traces) != os.getpid()
        return FakeEngine(device=device)

    monkeypatch.setattr("apdraw_cli.conversion.executors.local.find_gpus", lambda: (Gpu("NVIDIA L4", "8.9"),))
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    recorder = Recorder()
    result = desk.convert(slow, extractor=partial(traced_extractor, traces), workers=None, listener=recorder)
    assert (result.exit_code, result.done, recorder.workers) == (0, 6, workers)


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes with signals")
def test_workers_end_with_an_engine_that_cannot_be_opened(desk: Desk, traces: Path) -> None:
    save_photo(desk.photos / "p.png")
    processes: list[int] = []

    def cannot(options: EngineOptions, model: Path) -> FakeEngine:
        processes.append(process_of_first_worker(traces))
        raise EngineError("there is no GPU here; use --device cpu")

    result = desk.convert(cannot, extractor=partial(traced_extractor, traces), workers=1)
    assert (result.exit_code, result.error) == (3, "there is no GPU here; use --device cpu")
    (process,) = processes
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_an_extractor_that_cannot_be_opened(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    for workers in (0, 1):
        result = desk.convert(extractor=unfit_extractor, workers=workers)
        assert result.exit_code == 3
        assert "pip install detector" in str(result.error)
        assert result.photos == 0


def test_a_full_disk_ends_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        save_photo(desk.photos / f"p{number}.png")

    def full(self: LocalStorage, files: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalStorage, "write", full)
    result = desk.convert()
    assert (result.exit_code, result.done) == (3, 0)
    assert "make room" in str(result.error)
    monkeypatch.undo()
    assert desk.convert().done == 20


def test_a_model_that_is_not_there(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    with pytest.raises(UnfitError, match=r"other\.onnx"):
        desk.convert(model=desk.model.with_name("other.onnx"))


def test_two_conversions_into_one_folder(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    inside: list[str] = []

    def open_engine(options: EngineOptions, model: Path) -> FakeEngine:
        with pytest.raises(UsageError) as caught:
            desk.convert()
        inside.append(str(caught.value))
        return FakeEngine()

    assert desk.convert(open_engine).done == 1
    assert "another apdraw" in inside[0]


class Interrupting(Recorder):
    """Presses Ctrl-C after the first photo."""

    def settled(self, outcome: Outcome) -> None:
        super().settled(outcome)
        if len(self.outcomes) == 1:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(desk: Desk, workers: int) -> None:
    for number in range(40):
        save_photo(desk.photos / f"p{number:02}.png", 10 + number)
    before = signal.getsignal(signal.SIGINT)
    listener = Interrupting()
    with stop_requests() as stop:
        result = desk.convert(FakeEngine(seconds=0.1, batch_size=2), listener=listener, workers=workers, stop=stop)
    assert signal.getsignal(signal.SIGINT) is before
    assert (result.interrupted, result.exit_code, listener.stopped) == (True, 130, True)
    assert 0 < result.done < 40
    assert len(desk.drawings()) == result.done == len(manifest_lines(desk.out))
    rest = desk.convert()
    assert (rest.done, rest.skipped) == (40 - result.done, result.done)


class Stopping(Recorder):
    """Sets an event after the first photo."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop

    def settled(self, outcome: Outcome) -> None:
        super().settled(outcome)
        self._stop.set()


def test_a_library_stops_it_by_an_event_and_keeps_its_signals(desk: Desk) -> None:
    for number in range(40):
        save_photo(desk.photos / f"p{number:02}.png", 10 + number)
    stop = threading.Event()
    handlers: list[Any] = []

    def open_engine(options: EngineOptions, model: Path) -> FakeEngine:
        handlers.append(signal.getsignal(signal.SIGINT))
        return FakeEngine(seconds=0.1, batch_size=2)

    result = desk.convert(open_engine, listener=Stopping(stop), stop=stop)
    assert handlers == [signal.getsignal(signal.SIGINT)]
    assert (result.interrupted, result.exit_code) == (True, 130)
    assert 0 < result.done == len(desk.drawings()) < 40


def settled_length(items: list[Any]) -> int:
    """The length of a list that grows in another thread, once it has begun to grow and no longer does."""
    for _ in range(60):
        before = len(items)
        time.sleep(0.5)
        if before and len(items) == before:
            return before
    return len(items)


def test_memory_is_bounded_by_taking_up_photos_as_they_are_drawn(desk: Desk) -> None:
    for number in range(60):
        save_photo(desk.photos / f"p{number:02}.png")
    gate = threading.Event()
    read: list[str] = []

    class Slow(FakeEngine):
        def draw(self, batch: Any) -> Any:
            gate.wait(60)
            return super().draw(batch)

    class Counting:
        def extract(self, photo: Any, timings: dict[str, float], landmarks: Any = None) -> Any:
            read.append("")
            return fake_extractor(FaceOptions()).extract(photo, timings, landmarks)

    counting = Counting()
    result: list[ConvertResult] = []
    thread = threading.Thread(
        target=lambda: result.append(desk.convert(Slow(batch_size=2), extractor=lambda options: counting))
    )
    thread.start()
    taken_up = settled_length(read)
    gate.set()
    thread.join()
    assert result[0].done == 60
    assert taken_up < 15
