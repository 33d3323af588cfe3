"""All executors do the same: what the plain one does, photo after photo."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import RAISES, TWO_FACES, FakeEngine, fake_extractor, save_photo, unfit_extractor

from apdraw_cli.conversion.executors.base import EngineReady, Executor
from apdraw_cli.conversion.executors.local import LocalExecutor
from apdraw_cli.conversion.executors.read_ahead import read_ahead
from apdraw_cli.conversion.executors.serial import SerialExecutor
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.pipeline import DrawnPhoto, PhotoReader, encode_pages
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.sources import Source
from apdraw_cli.conversion.storage import open_storage
from apdraw_cli.conversion.storage.local import LocalStorage
from engines.errors import EngineError, UnfitError

RECIPE = Recipe(FaceOptions(faces="all"))

Make = Callable[..., Executor]


def serial(output: Path, engine: Any, extractor: Any = fake_extractor) -> Executor:
    return SerialExecutor(RECIPE, LocalStorage(str(output)), lambda: engine, extractor)


def local(output: Path, engine: Any, extractor: Any = fake_extractor) -> Executor:
    return LocalExecutor(RECIPE, LocalStorage(str(output)), lambda: engine, extractor, workers=0)


def local_with_a_worker(output: Path, engine: Any, extractor: Any = fake_extractor) -> Executor:
    return LocalExecutor(RECIPE, LocalStorage(str(output)), lambda: engine, extractor, workers=1)


every_executor = pytest.mark.parametrize("make", [serial, local, local_with_a_worker], ids=lambda make: make.__name__)


def test_reading_ahead_goes_on_while_nothing_arrives() -> None:
    storage = open_storage("memory://read-ahead")
    storage.write({"p.png": b"1", "q.png": b"2"})
    found = [Source(name, storage.address, name, name) for name in ("p.png", "q.png", "gone.png")]
    ahead = read_ahead(iter([*(Step(source, source.name, "") for source in found), None, None, None, None]))
    told = [step for step in ahead if step is not None]
    assert [(step.source.name, step.data) for step in told] == [("p.png", b"1"), ("q.png", b"2"), ("gone.png", None)]
    steps = iter([Step(found[0], "p.png", ""), *[None] * 100])
    ahead = read_ahead(steps)
    assert next(step for step in ahead if step is not None).data == b"1"
    assert next(steps, "all") is None  # it did not wait for an end that never comes
    ahead.close()


def never() -> bool:
    return False


def steps(folder: Path) -> list[Step]:
    """Photos of all kinds, and one that the plan has settled."""
    save_photo(folder / "one.png", 60)
    save_photo(folder / "two.png", 70, TWO_FACES)
    save_photo(folder / "none.png", 0)
    save_photo(folder / "bug.png", mark=RAISES)
    (folder / "empty.png").touch()
    found = []
    for path in sorted(folder.glob("*.png")):
        source = Source(str(path), str(folder), path.name, path.stem)
        found.append(Step(source, path.name, "options"))
    skipped = Source("gone.png", str(folder), "gone.png", "gone")
    settled = Outcome(skipped, "skipped", recorded=False)
    return [*found, Step(skipped, "gone.png", "options", settled)]


def told(outcome: Outcome) -> tuple[Any, ...]:
    """All of an outcome that does not depend on time."""
    error = outcome.error and (outcome.error.code, outcome.error.message)
    return (
        *(
            outcome.status,
            outcome.recipe_sha256,
            outcome.outputs,
            len(outcome.faces),
            len(outcome.transforms),
            error,
            outcome.engine,
        ),
        *(outcome.recorded, outcome.remembered, sorted(outcome.seconds), bool(outcome.trace)),
    )


def outcomes(executor: Executor, planned: Iterable[Step]) -> dict[str, tuple[Any, ...]]:
    events = list(executor.outcomes(iter(planned), never))
    executor.close()
    return {event.source.name: told(event) for event in events if isinstance(event, Outcome)}


@pytest.mark.parametrize("make", [local, local_with_a_worker], ids=lambda make: make.__name__)
def test_outcomes_and_bytes_are_those_of_the_serial_executor(make: Make, tmp_path: Path) -> None:
    planned = steps(tmp_path / "photos")
    expected = outcomes(serial(tmp_path / "expected", FakeEngine()), planned)
    found = outcomes(make(tmp_path / "found", FakeEngine(batch_size=2)), planned)
    assert found == expected
    assert {name: outcome[0] for name, outcome in found.items()} == {
        "one.png": "done",
        "two.png": "done",
        "none.png": "no_face",
        "bug.png": "failed",
        "empty.png": "failed",
        "gone.png": "skipped",
    }
    drawings = {path.name: path.read_bytes() for path in (tmp_path / "expected").iterdir()}
    assert sorted(drawings) == ["one.png", "two.2.png", "two.png"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()} == drawings


@every_executor
def test_nothing_is_opened_where_there_is_nothing_to_draw(make: Make, tmp_path: Path) -> None:
    def opened(options: FaceOptions) -> Any:
        raise AssertionError("the extractor was opened although there was nothing to draw")

    settled = steps(tmp_path)[-1:]
    events = list(make(tmp_path / "out", None, opened).outcomes(iter(settled), never))
    assert [event for event in events if event is not None] == [settled[0].settled]


@every_executor
def test_the_engine_stays_open_between_conversions_until_it_is_closed(make: Make, tmp_path: Path) -> None:
    engine = FakeEngine()
    executor = make(tmp_path / "out", engine)
    planned = steps(tmp_path / "photos")
    for _ in range(2):
        events = list(executor.outcomes(iter(planned), never))
        assert sum(isinstance(event, EngineReady) for event in events) == 1
        assert not engine.closed
    executor.close()
    assert engine.closed
    executor.close()


@every_executor
def test_it_stops_when_it_is_asked_to(make: Make, tmp_path: Path) -> None:
    photos = [save_photo(tmp_path / "photos" / f"{n:02}.png") for n in range(30)]
    planned = [Step(Source(str(p), str(p.parent), p.name, p.stem), p.name, "options") for p in photos]
    stop = threading.Event()
    done = 0
    executor = make(tmp_path / "out", FakeEngine(batch_size=1, seconds=0.05))
    for event in executor.outcomes(iter(planned), stop.is_set):
        done += isinstance(event, Outcome)
        if done:
            stop.set()
    executor.close()
    assert 0 < done < 30
    assert len(list((tmp_path / "out").glob("*.png"))) == done


def no_encoding(*arguments: Any) -> Any:
    raise AssertionError("pages were encoded here")


def test_workers_encode_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apdraw_cli.conversion.executors.local.encode_pages", no_encoding)
    found = outcomes(local_with_a_worker(tmp_path / "out", FakeEngine(seconds=0.1)), steps(tmp_path / "photos"))
    assert sorted(name for name, outcome in found.items() if outcome[0] == "done") == ["one.png", "two.png"]


def test_what_is_drawn_is_written_before_a_long_plan_is_through(tmp_path: Path) -> None:
    *planned, skipped = steps(tmp_path / "photos")
    written = 0

    def plan() -> Iterator[Step]:
        nonlocal written
        yield from planned
        deadline = time.monotonic() + 30
        while written < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
            written = len(list((tmp_path / "out").glob("*.png")))
            yield skipped

    found = outcomes(local_with_a_worker(tmp_path / "out", FakeEngine()), plan())
    assert found["gone.png"][0] == "skipped"
    assert written == 3


def dies_encoding(task: Any) -> Any:
    """Does what workers do, but dies where it is to encode the page of `two.png`."""
    if isinstance(task, DrawnPhoto) and task.step.source.drawing == "two":
        os.kill(os.getpid(), signal.SIGKILL)
    reader = PhotoReader(fake_extractor, RECIPE)
    return encode_pages(task, RECIPE) if isinstance(task, DrawnPhoto) else reader.read(task)


@pytest.mark.skipif(sys.platform == "win32", reason="kills processes with signals")
def test_drawings_that_kill_who_encodes_them_cost_only_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apdraw_cli.conversion.executors.local._Work", lambda reader: dies_encoding)
    found = outcomes(local_with_a_worker(tmp_path / "out", FakeEngine()), steps(tmp_path / "photos"))
    assert found["two.png"][5] == (
        "worker_died",
        "it killed the process that encoded it, perhaps for want of memory",
    )
    assert found["one.png"][0] == "done"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.png"]


class SetsWhenItDraws(FakeEngine):
    """Ends the conversion as soon as it has drawn."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(batch_size=1)
        self._stop = stop

    def draw(self, batch: Any) -> Any:
        drawings = super().draw(batch)
        self._stop.set()
        return drawings


@pytest.mark.parametrize("make", [local, local_with_a_worker], ids=lambda make: make.__name__)
def test_what_is_drawn_when_it_stops_is_written(make: Make, tmp_path: Path) -> None:
    photos = [save_photo(tmp_path / "photos" / f"{n}.png") for n in range(9)]
    planned = [Step(Source(str(p), str(p.parent), p.name, p.stem), p.name, "options") for p in photos]
    stop = threading.Event()
    engine = SetsWhenItDraws(stop)
    events = list(make(tmp_path / "out", engine).outcomes(iter(planned), stop.is_set))
    done = [event.outputs[0] for event in events if isinstance(event, Outcome)]
    assert 0 < len(done) == sum(engine.batches) < 9
    assert sorted(done) == sorted(path.name for path in (tmp_path / "out").iterdir())


@every_executor
def test_what_no_photo_can_help_is_raised_after_what_was_drawn(make: Make, tmp_path: Path) -> None:
    planned = steps(tmp_path / "photos")
    with pytest.raises(UnfitError, match="pip install detector"):
        list(make(tmp_path / "out", FakeEngine(), unfit_extractor).outcomes(iter(planned), never))

    class Gone(FakeEngine):
        def draw(self, batch: Any) -> Any:
            raise EngineError("the device is gone")

    with pytest.raises(UnfitError, match=r"^the device is gone$"):
        list(make(tmp_path / "out", Gone()).outcomes(iter(planned), never))
    Gone.draw = lambda self, batch: 1 // 0
    with pytest.raises(UnfitError, match="drawing failed: integer division"):
        list(make(tmp_path / "out", Gone()).outcomes(iter(planned), never))


@every_executor
def test_a_plan_that_fails_is_told(make: Make, tmp_path: Path) -> None:
    def planned() -> Iterator[Step]:
        yield steps(tmp_path / "photos")[-1]
        raise UnfitError("no room for temporary files")

    found: list[Any] = []
    with pytest.raises(UnfitError, match="no room"):
        found.extend(make(tmp_path / "out", FakeEngine()).outcomes(planned(), never))
    assert [event.source.name for event in found if isinstance(event, Outcome)] == ["gone.png"]
