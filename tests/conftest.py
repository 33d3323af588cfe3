"""What all tests share."""

import os

# Before anything is imported, and for the programs that tests start: threads that wait for each other on a busy machine
# make the suite three times as slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Warnings are errors in those programs too, as they are in the tests (pyproject.toml).
os.environ.setdefault("PYTHONWARNINGS", "error")

import gc
import importlib.util
import json
import math
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

sys.dont_write_bytecode = False
gc.set_threshold(100_000, 20, 50)  # to look through all that torch and pytest hold takes a quarter of an export's time

if TYPE_CHECKING:
    from generators import Generators
    from selenium.webdriver.remote.webdriver import WebDriver

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


@pytest.fixture(scope="session", autouse=True)
def one_thread_of_onnxruntime() -> Iterator[None]:
    """Its threads spin while they wait for each other, which takes half of the time where the cores are busy."""
    if importlib.util.find_spec("onnxruntime") is None:
        yield
        return
    from onnxruntime import InferenceSession, SessionOptions

    opened = InferenceSession.__init__

    def open_with_one(self: InferenceSession, model: Any, sess_options: Any = None, *more: Any, **options: Any) -> None:
        sess_options = sess_options or SessionOptions()
        sess_options.intra_op_num_threads = sess_options.intra_op_num_threads or 1
        opened(self, model, sess_options, *more, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InferenceSession, "__init__", open_with_one)
        yield


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine progress would be told in between of what a test expects; where it is tested, it is told."""
    monkeypatch.setattr("apdraw_cli.progress.LINE_SECONDS", math.inf)


@pytest.fixture(autouse=True)
def batches_are_not_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for a test is read at once: whoever waits longer for another portrait waits in vain."""
    monkeypatch.setattr("apdraw_cli.conversion.executors.batching.FILL_SECONDS", 0.005)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthetic portraits to train on, with drawings and line maps."""
    import cv2
    import numpy as np

    from engines.synthetic import synthetic_portraits

    folder = tmp_path_factory.mktemp("dataset")
    portraits = synthetic_portraits(3, 0)
    for name in ("photos", "drawings", "masks", "landmarks", "lines"):
        (folder / name).mkdir()
    entries = []
    for i in range(3):
        drawing = np.where(portraits.photo[i].mean(axis=2) < 110, 0, 255).astype(np.uint8)
        lines = np.full(drawing.shape, 128, np.uint8)
        lines[cv2.Canny(drawing, 50, 150) > 0] = 0
        lines[100:110, 100:400] = 255
        cv2.imwrite(str(folder / f"photos/{i}.png"), portraits.photo[i][..., ::-1])
        cv2.imwrite(str(folder / f"masks/{i}.png"), portraits.mask[i])
        cv2.imwrite(str(folder / f"drawings/{i}.png"), drawing)
        cv2.imwrite(str(folder / f"lines/{i}.png"), lines)
        np.savetxt(folder / f"landmarks/{i}.txt", portraits.landmarks[i], fmt="%d")
        entries.append({"name": str(i), "split": "train", "left_out": None})
    entries.append({"name": "gone", "split": "train", "left_out": "no face"})
    (folder / "index.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[WebDriver]":
    """A headless Chromium; a test that needs it is skipped where it, or its driver, is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()
