"""What all tests share."""

import os

# Before anything is imported, and for the programs that tests start: threads that wait for each other on a busy machine
# make the suite three times as slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from generators import Generators

settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def _shared() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the reference folder `shared` beside the repository")
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the repository; a test that needs it is skipped without it."""
    return _shared()


@pytest.fixture(scope="session")
def generators(tmp_path_factory: pytest.TempPathFactory) -> "Generators":
    """Generators and what is exported of them, shared by the processes of a session."""
    from generators import Generators

    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "generators"
    folder.mkdir(exist_ok=True)
    return Generators(folder, _shared)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A background job of a shell ignores Ctrl-C, and so would every process that the tests start from one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
