"""What machines do to a conversion: kills, full disks, failing ones, few handles. All photos end accounted for."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_convert
import pytest
from conversion_fakes import (
    FakeEngine,
    Recorder,
    drawn_value,
    engine_opener,
    fake_extractor,
    manifest_lines,
    save_photo,
)
from PIL import Image as Pillow

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import ConvertResult
from apdraw_cli.conversion.storage.local import LocalStorage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, limits and mounts of Unix")

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
PHOTOS = 24

SLOWEST = 900.0
"""Seconds that a run may take on a busy machine; on an idle one it takes a few."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(PHOTOS):
        save_photo(tmp_path / "photos" / f"p{number:03}.png", 10 + number)
    return tmp_path / "photos"


def begin(
    photos: Path,
    out: Path,
    *,
    workers: int = 1,
    seconds: float = 0.0,
    limit: tuple[str, int] | None = None,
    **more: str,
) -> "subprocess.Popen[str]":
    arguments = [photos, out, workers, seconds, *(limit or ())]
    return subprocess.Popen(
        [sys.executable, fake_convert.__file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, **more},
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """What it printed, once it has ended by itself, without a traceback."""
    out, err = process.communicate(timeout=SLOWEST)
    assert "Traceback" not in out + err, out + err
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert result["exit_code"] == process.returncode
    assert "please report it" not in str(result)
    return result


def wait_for_lines(out: Path, count: int) -> int:
    manifest = out / "apdraw-manifest.jsonl"
    deadline = time.monotonic() + SLOWEST
    while time.monotonic() < deadline:
        found = manifest.read_bytes().count(b"\n") if manifest.exists() else 0
        if found >= count:
            return found
        time.sleep(0.05)
    pytest.fail(f"no {count} photos were done")


def tree(out: Path) -> dict[str, int]:
    """The drawings by name, with the value that fills each."""
    return {path.name: drawn_value(path) for path in sorted(out.glob("*.png"))}


def run(photos: Path, out: Path, **changes: Any) -> ConvertResult:
    model = photos.parent / "model.onnx"
    model.write_bytes(b"a model")
    options = ConvertOptions.of(str(photos), output=out, model=model, **{"workers": 0, **changes})
    return convert(options, Recorder(), open_engine=engine_opener(FakeEngine()), open_extractor=fake_extractor)


def check_whole(photos: Path, out: Path) -> None:
    """Every photo is drawn, once, and nothing else lies in the output folder."""
    assert tree(out) == {f"p{number:03}.png": 10 + number for number in range(PHOTOS)}
    last = {line["source"]: line["status"] for line in manifest_lines(out)}
    assert last == {path.name: "done" for path in photos.iterdir()}
    assert {path.name for path in out.iterdir()} == {*tree(out), "apdraw-manifest.jsonl"}


def kill_all(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    found = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for path in found for pid in path.read_text().split()]


def test_after_kills_of_the_whole_group_the_tree_is_that_of_an_unbroken_run(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for done in (3, 9):
        process = begin(photos, out, seconds=0.2)
        wait_for_lines(out, done)
        kill_all(process)
    result = run(photos, out)
    assert result.done + result.skipped == PHOTOS
    check_whole(photos, out)


@pytest.mark.slow
def test_twenty_kills_of_the_whole_group_at_random(photos: Path, tmp_path: Path) -> None:
    chance = random.Random(1)
    out = tmp_path / "out"
    for _ in range(20):
        process = begin(photos, out, seconds=0.3)
        time.sleep(chance.uniform(0, 6))
        kill_all(process)
    ended(begin(photos, out))
    check_whole(photos, out)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_worker_lost_at_random_costs_no_photo(photos: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    process = begin(photos, out, seconds=0.1, TIME_LIMIT="2")
    wait_for_lines(out, 4)
    for worker in workers_of(process):
        os.kill(worker, number)
    assert ended(process)["done"] == PHOTOS
    check_whole(photos, out)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or not mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)):
        pytest.skip("may not mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def mounted(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def test_a_full_disk_is_told_and_the_next_run_goes_on(photos: Path, small_disk: Path) -> None:
    out = small_disk / "out"
    result = run(photos, out)
    assert result.exit_code == 3
    assert "No space left" in str(result.error)
    assert 0 < result.done < PHOTOS
    assert not list(out.glob(".*.part"))
    assert mounted("-o", "remount,size=4m", str(small_disk))
    assert run(photos, out).exit_code == 0
    check_whole(photos, out)


def test_a_full_folder_for_temporary_files_is_told(photos: Path, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "filling").write_bytes(bytes(64 * 1024))
    result = ended(begin(photos, tmp_path / "out", workers=0, TMPDIR=str(small_disk), SQLITE_TMPDIR=str(small_disk)))
    # What is kept there is so little that it may fit into memory.
    assert result["exit_code"] == 0 or "temporary files" in result["error"]


def test_no_file_may_grow(photos: Path, tmp_path: Path) -> None:
    result = ended(begin(photos, tmp_path / "out", workers=0, limit=("RLIMIT_FSIZE", 600)))
    assert result["exit_code"] in (1, 3)
    told = str(result["error"]) + str(result.get("failures"))
    assert "File too large" in told or "No space left" in told
    run(photos, tmp_path / "out")
    check_whole(photos, tmp_path / "out")


@pytest.mark.parametrize("handles", [16, 24, 40])
def test_few_handles(photos: Path, tmp_path: Path, handles: int) -> None:
    result = ended(begin(photos, tmp_path / "out", limit=("RLIMIT_NOFILE", handles)))
    assert result["exit_code"] in (0, 1, 3)
    run(photos, tmp_path / "out")
    check_whole(photos, tmp_path / "out")


@pytest.fixture(scope="module")
def large_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes about 800 MB to read."""
    path = tmp_path_factory.mktemp("large") / "large.png"
    Pillow.new("RGB", (8000, 7000), (9, 9, 9)).save(path, compress_level=1)
    return path


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="looks up the memory it takes in /proc")
@pytest.mark.parametrize("workers", [0, 1])
def test_little_memory_costs_the_large_photos_until_there_is_more(
    photos: Path, tmp_path: Path, large_photo: Path, workers: int
) -> None:
    shutil.copy(large_photo, photos)
    out = tmp_path / "out"
    result = ended(begin(photos, out, workers=workers, limit=("RLIMIT_AS", 600_000_000), TIME_LIMIT="300"))
    assert [(each["source"], each["code"]) for each in result["failures"]] == [("large.png", "out_of_memory")]
    assert (result["exit_code"], result["done"]) == (1, PHOTOS)
    rest = run(photos, out)
    assert (rest.exit_code, rest.done, rest.skipped) == (0, 1, PHOTOS)


def test_a_disk_that_fails_now_and_then_costs_nothing_in_the_end(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"p003.png", "p007.png"}
    read, write = LocalStorage.read, LocalStorage.write

    def failing_read(storage: LocalStorage, name: str, most: int) -> bytes:
        if name == "p003.png" and broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(storage, name, most)

    def failing_write(storage: LocalStorage, files: Any) -> None:
        if "p007.png" in files and broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(storage, files)

    monkeypatch.setattr(LocalStorage, "read", failing_read)
    monkeypatch.setattr(LocalStorage, "write", failing_write)
    result = run(photos, tmp_path / "out")
    assert {failure.source: failure.code for failure in result.failures} == {
        "p003.png": "unreadable",
        "p007.png": "write_failed",
    }
    assert result.done == PHOTOS - 2
    broken.clear()
    assert run(photos, tmp_path / "out").done == 2
    check_whole(photos, tmp_path / "out")


def test_an_output_folder_that_is_removed_ends_it_in_a_line(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = begin(photos, out, workers=0, seconds=0.2)
    wait_for_lines(out, 4)
    shutil.rmtree(out, ignore_errors=True)
    result = ended(process)
    assert result["exit_code"] == 3
    assert "apdraw-manifest.jsonl" in result["error"]
    run(photos, out)
    check_whole(photos, out)


def test_a_working_folder_that_is_gone(photos: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"import os; os.rmdir({str(gone)!r}); import fake_convert; fake_convert.main()"
    arguments = [str(photos), str(tmp_path / "out"), "1", "0"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=gone,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0
    check_whole(photos, tmp_path / "out")
