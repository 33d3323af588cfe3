"""What the workers of a pool run in its tests; they start sooner without what the tests themselves import."""

import contextlib
import os
import pickle
import signal
import stat
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.errors import UnfitError


def fine() -> None:
    pass


def unfit() -> None:
    raise UnfitError("install something")


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave_a_trace(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


def dies_at_first(folder: Path, times: int) -> None:
    if len(list(folder.iterdir())) < times:
        leave_a_trace(folder)
        os.kill(os.getpid(), signal.SIGKILL)


def double(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def killed_once(path: str) -> str:
    if not os.path.exists(path):  # noqa: PTH110
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def half_sent(folder: Path, number: int) -> int:
    """Sends half an answer and is killed: at negative numbers, and at multiples of 3 the first time."""
    mark = folder / str(number)
    if number < 0 or (number % 3 == 0 and not mark.exists()):
        mark.touch()
        for descriptor in range(3, 20):  # one of them is the pipe
            with contextlib.suppress(OSError):
                if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                    os.write(descriptor, pickle.dumps(bytes(100_000))[:50_000])
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def frozen(folder: Path, number: int) -> int:
    """Freezes at negative numbers, and at 0 the first time."""
    if number < 0 or (number == 0 and not (folder / "0").exists()):
        (folder / str(number)).touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return 2 * number


def asleep(folder: Path, number: int) -> int:
    """Like `frozen`, for a decoder that does not return."""
    if number < 0 or (number == 0 and not (folder / "0").exists()):
        (folder / str(number)).touch()
        time.sleep(300)
    return 2 * number


def pid_after_a_while(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def half_a_second(number: int) -> int:
    time.sleep(0.5)
    return number


def fails(number: int) -> int:
    """Raises what it must not at negative numbers."""
    if number < 0:
        raise ValueError(number)
    return 2 * number


def pixels(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], str]:
    """A large array, one of a few bytes, and what is none."""
    return np.full((count, 1000), count % 251, np.uint8), np.arange(3, dtype=np.uint8), str(count)


def ends_it(number: int) -> int:
    raise UnfitError("out of everything")


def takes_long(folder: Path, number: int) -> int:
    (folder / str(number)).touch()
    time.sleep(30)
    return number
