"""Folders that are watched: what arrives whole is drawn once, by one engine, until the end is asked for."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import FakeEngine, Recorder, fake_extractor, manifest_lines, save_photo

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion import conversion, watch
from apdraw_cli.conversion.executors.serial import SerialExecutor
from apdraw_cli.conversion.gather import gather
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import ConvertResult, Outcome
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.storage import open_storage
from engines.errors import OptionsError, UnfitError, UsageError

pytest.importorskip("watchfiles")

LONG = 120.0
"""Seconds after which a test gives up, on a machine that does much else."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SETTLE_SECONDS", 0.15)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 60.0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    first = save_photo(tmp_path / "photos" / "first.png")
    os.utime(first, (0, 0))  # it has been there for long
    (tmp_path / "m.onnx").touch()
    return tmp_path / "photos"


class Watching:
    """A conversion that watches, in a thread of its own."""

    def __init__(self, convert: Callable[[Any, threading.Event], ConvertResult], folder: Path) -> None:
        self.stop = threading.Event()
        self.recorder = Recorder()
        self.folder = folder
        self.ended: ConvertResult | BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(convert,))
        self._thread.start()

    def _run(self, convert: Callable[[Any, threading.Event], ConvertResult]) -> None:
        try:
            self.ended = convert(self.recorder, self.stop)
        except BaseException as error:
            self.ended = error

    def wait(self, *sources: str) -> None:
        """Waits until some photos are through."""
        deadline = time.monotonic() + LONG
        while not set(sources) <= {outcome.source.name for outcome in self.recorder.outcomes}:
            if self.ended is not None or time.monotonic() > deadline:
                pytest.fail(f"{sources} are not through: {self.recorder.outcomes}, {self.ended}")
            time.sleep(0.01)

    def end(self) -> ConvertResult:
        self.stop.set()
        self._thread.join(LONG)
        if isinstance(self.ended, BaseException):
            raise self.ended
        assert self.ended is not None
        return self.ended


@contextmanager
def watching(
    photos: Path, engine: FakeEngine | None = None, *, executor: str = "0", **changes: Any
) -> Iterator[Watching]:
    """Watches photos; `executor` is serial, or a number of workers of the local one."""
    opened: list[FakeEngine] = []

    def open_engine(*arguments: object) -> FakeEngine:
        assert not opened, "the engine is opened twice"
        opened.append(engine or FakeEngine())
        return opened[0]

    def run(listener: Any, stop: threading.Event) -> ConvertResult:
        workers = 0 if executor == "serial" else int(executor)
        options = ConvertOptions.of(str(photos), model=photos.parent / "m.onnx", workers=workers, watch=True, **changes)
        if executor != "serial":
            return convert(options, listener, stop=stop, open_engine=open_engine, open_extractor=fake_extractor)
        sources = gather(options.sources, (), options.output)
        serial = SerialExecutor(Recipe.of(options), open_storage(str(sources.output)), open_engine, fake_extractor)
        return conversion.run(options, sources, Path("m"), "m", serial, listener, stop)

    folder = changes.get("output") or photos.with_name("photos-drawings")
    going = Watching(run, folder)
    try:
        yield going
    finally:
        going.stop.set()
        going._thread.join(LONG)


@pytest.mark.parametrize("executor", ["serial", "0", "1"])
def test_what_arrives_is_drawn_by_one_engine(photos: Path, executor: str) -> None:
    with watching(photos, executor=executor) as going:
        going.wait("first.png")
        save_photo(photos / "second.png", 50)
        going.wait("second.png")
        save_photo(photos / "below" / "third.png", 0)
        going.wait("below/third.png")
        result = going.end()
    assert (result.done, result.no_face, result.skipped, result.exit_code) == (2, 1, 0, 1)
    assert not result.interrupted
    assert [line["source"] for line in manifest_lines(going.folder)] == ["first.png", "second.png", "below/third.png"]
    assert (going.folder / "second.png").is_file()


def test_an_empty_folder_is_waited_at(photos: Path) -> None:
    (photos / "first.png").unlink()
    with watching(photos) as going:
        time.sleep(0.3)
        assert going.ended is None
        save_photo(photos / "p.png")
        going.wait("p.png")
        assert going.end().exit_code == 0


def test_a_changed_photo_is_drawn_again_and_one_that_is_touched_only_is_told_of_once(photos: Path) -> None:
    with watching(photos) as going:
        going.wait("first.png")
        save_photo(photos / "first.png", 77)
        deadline = time.monotonic() + LONG
        while len(going.recorder.outcomes) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        (photos / "first.png").chmod(0o600)
        save_photo(photos / "later.png")
        going.wait("later.png")
        assert going.end().done == 3


def test_a_folder_that_is_moved_in_is_drawn(photos: Path) -> None:
    save_photo(photos.parent / "day" / "a" / "p.png")
    save_photo(photos.parent / "day" / "q.png")
    with watching(photos) as going:
        going.wait("first.png")
        shutil.move(photos.parent / "day", photos / "day")
        going.wait("day/a/p.png", "day/q.png")
        assert going.end().done == 3


def test_a_photo_is_not_drawn_before_it_is_whole(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()
    settled = watch.Watch.settled

    def noting(self: watch.Watch, outcome: Outcome) -> bool:
        is_settled = settled(self, outcome)
        if not is_settled:
            tried.set()
        return is_settled

    monkeypatch.setattr(watch.Watch, "settled", noting)
    whole = save_photo(photos.parent / "whole.png", 90).read_bytes()
    with watching(photos) as going:
        going.wait("first.png")
        with (photos / "slow.png").open("wb", buffering=0) as file:
            file.write(whole[:50])
            assert tried.wait(LONG)  # it has settled so, and is cut off
            file.write(whole[50:])
        going.wait("slow.png")
        result = going.end()
    assert (result.done, result.failed) == (2, 0)
    assert [line["status"] for line in manifest_lines(going.folder)] == ["done", "done"]


@pytest.mark.parametrize("before", [True, False])
def test_a_photo_that_stays_cut_off_fails_in_the_end(
    photos: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0.8)
    whole = save_photo(photos.parent / "whole.png", 90).read_bytes()
    if before:
        (photos / "cut.png").write_bytes(whole[:50])
    with watching(photos) as going:
        going.wait("first.png")
        if not before:
            (photos / "cut.png").write_bytes(whole[:50])
        going.wait("cut.png")
        time.sleep(0.4)
        result = going.end()
    assert (result.done, result.failed, result.exit_code) == (1, 1, 1)
    assert len(manifest_lines(going.folder)) == 2


def test_what_the_system_does_not_tell_is_found_by_walking(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch.Watch, "_listen", lambda self: None)
    monkeypatch.setattr(watch, "WALK_SECONDS", 0.1)
    (photos / "unreadable.png").write_bytes(b"")
    with watching(photos) as going:
        going.wait("first.png")
        save_photo(photos / "second.png")
        (photos / "notes.txt").touch()
        going.wait("second.png")
        time.sleep(0.5)
        result = going.end()
    assert result.done == 2
    assert result.other_files == {".txt": 1}
    assert len(manifest_lines(going.folder)) <= 3


def test_drawings_in_the_folder_itself_are_not_taken_for_photos(photos: Path) -> None:
    with watching(photos, output=photos / "out") as going:
        going.wait("first.png")
        save_photo(photos / "second.png")
        going.wait("second.png")
        save_photo(photos / "third.png")  # arrives after the drawing of the second
        going.wait("third.png")
        assert going.end().photos == 3


def test_a_folder_that_goes_ends_it(photos: Path) -> None:
    with watching(photos) as going:
        going.wait("first.png")
        photos.rename(photos.with_name("elsewhere"))
        deadline = time.monotonic() + LONG
        while going.ended is None and time.monotonic() < deadline:
            time.sleep(0.01)
        result = going.end()
    assert result.exit_code == 3
    assert "is gone" in str(result.error)


def test_only_some_photos_are_found_and_other_folders_are_not_listed(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/p.png", "a/q.png", "b/p.png", ".hidden/p.png", "a/p.jpg"):
        save_photo(photos / name)
    sources = gather([str(photos)])
    listed: list[str] = []
    listing = type(sources.folders[0].storage).listing
    monkeypatch.setattr(
        type(sources.folders[0].storage), "listing", lambda self, folder: listed.append(folder) or listing(self, folder)
    )
    only = {str(photos / name) for name in ("a/p.png", ".hidden/p.png", "none/p.png")}
    found = list(sources.photos(".png", several=False, only=only))
    assert [(source.name, source.drawing) for source in found] == [("a/p.png", "a/p.png")]
    assert listed == ["", "a"]


def test_wrong_use(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionsError, match="--prune"):
        ConvertOptions.of(str(photos), watch=True, prune=True)
    with pytest.raises(UsageError, match="needs a folder"):
        watch.Watch(gather([str(photos / "first.png")]))
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(UnfitError, match="watch"):
        watch.Watch(gather([str(photos)]))


COMMAND = textwrap.dedent("""
    import sys
    from pathlib import Path
    from conversion_fakes import FakeEngine, engine_opener, fake_extractor
    from apdraw_cli.commands import convert as commands
    from apdraw_cli.app import main

    commands.generator_engine = lambda *arguments: FakeEngine()
    convert = commands.convert
    commands.convert = lambda *arguments, **named: convert(*arguments, **named, open_extractor=fake_extractor)
    commands.check_model = lambda options: None
    sys.argv[0] = "apdraw"
    main()
""")


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_it_ends_cleanly(photos: Path, name: str) -> None:
    command = (sys.executable, "-c", COMMAND, "convert", photos, "--watch", "--model", photos.parent / "m.onnx")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    manifest = photos.with_name("photos-drawings") / "apdraw-manifest.jsonl"
    deadline = time.monotonic() + LONG
    while not (manifest.exists() and manifest.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.Signals[name])
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    assert "1 photo: 1 drawn; " in out
    assert err.splitlines()[0] == "Watching: Ctrl-C ends it."
    assert "done  first.png -> first.png (" in err
    assert "Traceback" not in out + err
    assert not list(manifest.parent.glob(".*"))
