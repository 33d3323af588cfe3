"""The service that draws for many callers: batches, bounds, and what becomes of photos that do harm."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import (
    CRASHES,
    FakeEngine,
    HeldEngine,
    engine_opener,
    fake_extractor,
    save_photo,
    unfit_extractor,
)

from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.serving.service import DrawingService, Drawn, FullError
from engines.errors import ApdrawError, EngineError, PhotoError, UnfitError
from engines.options import EngineOptions

PATIENCE = 120

Open = Callable[..., DrawingService]


@pytest.fixture
def opened() -> Iterator[Open]:
    services: list[DrawingService] = []

    def open_service(engine: FakeEngine, extractor: Any = fake_extractor, **options: Any) -> DrawingService:
        chosen = {"workers": 1, **options}
        services.append(
            DrawingService(Recipe(), EngineOptions(), Path("m.onnx"), engine_opener(engine), extractor, **chosen)
        )
        return services[-1]

    yield open_service
    for service in services:
        service.close()


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., bytes]:
    return lambda *arguments: save_photo(tmp_path / "p.png", *arguments).read_bytes()


def test_photos_of_many_callers_are_drawn_together(opened: Open, photo: Callable[..., bytes]) -> None:
    engine = FakeEngine(seconds=0.2)
    service = opened(engine)
    futures = [service.draw(photo(value)) for value in range(100, 124)]
    for value, future in zip(range(100, 124), futures, strict=True):
        drawn = future.result(PATIENCE)
        assert isinstance(drawn, Drawn)
        assert [int(each.mean()) for each in drawn.drawings] == [value]
        assert drawn.seconds.keys() >= {"decode", "detect", "draw"}
    assert sum(engine.batches) == 24
    assert max(engine.batches) == 4
    assert service.waiting == 0


def test_a_photo_that_cannot_be_drawn_harms_no_other(opened: Open, photo: Callable[..., bytes]) -> None:
    service = opened(FakeEngine())
    wrong = {"not_an_image": b"text", "no_face": photo(0), "worker_died": photo(90, CRASHES)}
    futures = {code: service.draw(data) for code, data in wrong.items()}
    good = service.draw(photo(100))
    for code, future in futures.items():
        with pytest.raises(PhotoError) as caught:
            future.result(PATIENCE)
        assert caught.value.code == code
    assert int(good.result(PATIENCE).drawings[0].mean()) == 100


def test_more_than_there_is_room_for_is_refused(opened: Open, photo: Callable[..., bytes]) -> None:
    engine = HeldEngine()
    service = opened(engine, room=3)
    futures = [service.draw(photo(100)) for _ in range(3)]
    with pytest.raises(FullError):
        service.draw(photo(100))
    engine.let_go.set()
    for future in futures:
        future.result(PATIENCE)
    assert service.draw(photo(101)).result(PATIENCE).drawings[0].mean() == 101


def test_what_nobody_waits_for_any_more_is_not_drawn(opened: Open, photo: Callable[..., bytes]) -> None:
    engine = FakeEngine()
    service = opened(engine)
    assert service.draw(photo(100)).cancel()
    service.draw(photo(101)).result(PATIENCE)
    assert engine.batches == [1]
    assert service.waiting == 0


@pytest.mark.parametrize("cause", ["engine", "extractor"])
def test_when_nothing_can_be_drawn_any_more_all_are_told(opened: Open, photo: Callable[..., bytes], cause: str) -> None:
    told = threading.Event()
    engine = FakeEngine(fails_after=0 if cause == "engine" else None)
    extractor = unfit_extractor if cause == "extractor" else fake_extractor
    service = opened(engine, extractor, failed=told.set)
    futures: list[Future[Drawn]] = []
    while not told.is_set() and len(futures) < 3:
        try:
            futures.append(service.draw(photo(100)))
        except ApdrawError:
            break
    for future in futures:
        with pytest.raises(UnfitError):
            future.result(PATIENCE)
    assert told.wait(PATIENCE)
    assert isinstance(service.failure, EngineError if cause == "engine" else UnfitError)
    with pytest.raises(UnfitError):
        service.draw(photo(100))


def test_closing_gives_up_what_is_not_drawn(opened: Open, photo: Callable[..., bytes]) -> None:
    engine = FakeEngine(seconds=0.5)
    service = opened(engine)
    futures = [service.draw(photo(100)) for _ in range(20)]
    futures[0].result(PATIENCE)
    service.close()
    assert engine.closed
    assert all(future.done() for future in futures)
