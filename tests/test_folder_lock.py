"""One run at a time in a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apdraw_cli.folder_lock import NAME, FolderLock

HOLDER = """
import sys, time
from pathlib import Path
from apdraw_cli.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(60)
"""


def test_the_second_is_kept_out_until_the_first_is_through(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    second.release()  # does nothing
    assert (tmp_path / NAME).exists()
    first.release()
    assert list(tmp_path.iterdir()) == []
    assert second.acquire()
    second.release()


def test_it_ends_with_the_process(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "True\n"
            assert not FolderLock(tmp_path).acquire()
        finally:
            holder.kill()
    lock = FolderLock(tmp_path)
    assert lock.acquire()
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / NAME).symlink_to("victim")
    with pytest.raises(OSError, match="not a regular file"):
        FolderLock(tmp_path).acquire()
    assert (tmp_path / "victim").read_text() == "mine"
