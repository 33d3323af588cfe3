"""What loggers are told of photos."""

import logging
from pathlib import Path

import pytest
from conversion_fakes import WARNED, FakeEngine, engine_opener, fake_extractor, save_photo

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.options import ConvertOptions


def draw(photos: Path) -> None:
    model = photos.parent / "m.onnx"
    model.touch()
    options = ConvertOptions.of(str(photos), model=model, workers=0)
    convert(options, Silent(), open_engine=engine_opener(FakeEngine()), open_extractor=fake_extractor)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_photo(tmp_path / "photos" / "good.png")
    save_photo(tmp_path / "photos" / "small.png", 50, WARNED)
    save_photo(tmp_path / "photos" / "landscape\n.png", 0)
    return tmp_path / "photos"


def test_levels_tell_what_matters(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "apdraw"):
        draw(photos)
        draw(photos)
    told = [(record.name, record.levelname, record.getMessage().partition(" (")[0]) for record in caplog.records]
    assert {name for name, _, _ in told} == {"apdraw.photos"}
    assert [(level, message) for _, level, message in told if message.endswith(".png: no face was found")] == [
        ("WARNING", "no_face  landscape\N{REPLACEMENT CHARACTER}.png: no face was found"),
        ("INFO", "no_face  landscape\N{REPLACEMENT CHARACTER}.png: no face was found"),
    ]
    assert [(level, message) for _, level, message in told if "good" in message] == [
        ("INFO", "done  good.png -> good.png"),
        ("DEBUG", "skipped  good.png: up to date"),
    ]
    assert any(record.getMessage().endswith("the face is small)") for record in caplog.records)


def test_nothing_is_printed_where_logging_is_not_set_up(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []  # pytest's own
    try:
        draw(photos)
    finally:
        root.handlers = handlers
    assert capfd.readouterr() == ("", "")
