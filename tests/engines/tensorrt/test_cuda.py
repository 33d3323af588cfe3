import contextlib
import ctypes
import sys

import numpy as np
import pytest
from fake_cuda import GARBAGE_FREED, FakeCuda, cudaError_t, install

from engines.errors import EngineError
from engines.tensorrt import cuda
from engines.tensorrt.cuda import Gpu


class FakeDriver:
    """Answers as the NVIDIA driver and its management library do; `result` other than 0 is an error."""

    def __init__(self, names, result=0, version=b"580.65.06"):
        self.names, self.result, self.version = names, result, version

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = 13000
        return self.result

    def cuDeviceGetAttribute(self, value, attribute, handle):  # noqa: N802
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0 if self.names[handle.value - 40] != b"broken" else 1

    def nvmlInit_v2(self):  # noqa: N802
        return 0 if self.version else 1

    def nvmlSystemGetDriverVersion(self, text, length):  # noqa: N802
        text.value = self.version[: length - 1]
        return 0

    def cuGetErrorString(self, code, text):  # noqa: N802
        text._obj.value = f"why {code}".encode()
        return 0

    def cuInit(self, flags):  # noqa: N802
        return self.result

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self.names)
        return 0

    def cuDeviceGet(self, handle, number):  # noqa: N802
        handle._obj.value = number + 40
        return 0

    def cuDeviceGetName(self, text, length, handle):  # noqa: N802
        name = self.names[handle.value - 40]
        if name is None:
            return 1
        text.value = name[: length - 1]
        return 0


@pytest.mark.parametrize(
    ("driver", "gpus"),
    [
        (
            FakeDriver([b"NVIDIA L4", b"NVIDIA H100 80GB HBM3"]),
            (Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA H100 80GB HBM3", "8.9")),
        ),
        (FakeDriver([None, b"broken"]), (Gpu("GPU 0", "8.9"), Gpu("broken", ""))),
        (FakeDriver([]), ()),
        (FakeDriver([b"NVIDIA L4"], result=100), ()),
        (object(), ()),
    ],
)
def test_it_names_what_the_driver_shows(monkeypatch, driver, gpus):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert cuda.find_gpus() == gpus


@pytest.mark.parametrize(
    ("driver", "version"),
    [
        (FakeDriver([]), "580.65.06 (CUDA 13.0)"),
        (FakeDriver([], version=b""), "CUDA 13.0"),
        (FakeDriver([], result=999), None),
    ],
)
def test_it_tells_the_version_of_the_driver(monkeypatch, driver, version):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert cuda.driver_version() == version


def test_no_driver_is_no_gpu(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert cuda.find_gpus() == ()
    assert cuda.driver_version() is None


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(802, "nvidia-fabricmanager"), (803, "restart"), (804, "container"), (999, "nvidia_uvm"), (46, "nvidia-smi")],
)
def test_a_driver_that_does_not_start_is_told_with_the_remedy(monkeypatch, code, remedy):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver([b"NVIDIA L4"], result=code))
    assert cuda.find_gpus() == ()
    fault = cuda.driver_fault()
    assert f"why {code} (CUDA error {code}); " in fault
    assert remedy in fault


@pytest.mark.parametrize("code", [0, 100])
def test_a_driver_that_starts_has_no_fault(monkeypatch, code):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver([], result=code))
    assert cuda.driver_fault() is None


def test_memory_that_is_not_free_is_not_asked_for(gpu):
    gpu.room, gpu.spills = 100, True
    with contextlib.ExitStack() as owner:
        cuda.allocate(owner, 60)
        with pytest.raises(cuda.OutOfGpuMemoryError, match="MB are free"):
            cuda.allocate(owner, 60)
    assert gpu.leaked() == []


@pytest.fixture
def gpu(monkeypatch):
    fake = FakeCuda(capabilities=["8.9", "12.0"])
    install(monkeypatch, fake)
    return fake


def test_it_counts_and_describes_gpus(gpu):
    assert cuda.device_count() == 2
    assert [cuda.compute_capability(number) for number in (0, 1)] == ["8.9", "12.0"]


def test_an_error_code_is_an_error_with_its_name_and_text(gpu):
    gpu.fail["cudaGetDeviceCount"] = cudaError_t.cudaErrorInsufficientDriver
    with pytest.raises(EngineError, match=r"^cudaGetDeviceCount failed: text [^\n]+ \(cudaErrorInsufficientDriver\)"):
        cuda.device_count()


def test_short_memory_is_an_error_of_its_own_and_leaves_nothing_behind(gpu):
    gpu.room = 100
    with contextlib.ExitStack() as owner, pytest.raises(cuda.OutOfGpuMemoryError):
        cuda.Buffer(owner, (5, 5), "float32"), cuda.Buffer(owner, (1,), "float32")
    assert gpu.leaked() == []
    gpu.room, gpu.fail["cudaMalloc"] = 1000, cudaError_t.cudaErrorMemoryAllocation  # what is free lies in pieces
    with contextlib.ExitStack() as owner, pytest.raises(cuda.OutOfGpuMemoryError):
        cuda.allocate(owner, 10)
    assert "cudaGetLastError" in gpu.calls


def test_a_buffer_goes_to_the_gpu_and_back(gpu):
    with contextlib.ExitStack() as owner:
        stream, buffer = cuda.Stream(owner), cuda.Buffer(owner, (2, 3), "float32")
        assert not buffer.host.any()
        buffer.host[:] = np.arange(6).reshape(2, 3)
        stream.upload(buffer)
        stream.wait()
        buffer.host[:] = 0
        stream.download(buffer)
        assert not buffer.host.any()
        stream.wait()
        assert buffer.host.tolist() == [[0, 1, 2], [3, 4, 5]]
        kept = buffer.host.view(np.uint8)
    assert (kept == GARBAGE_FREED).all()
    assert gpu.leaked() == []


def test_captured_work_is_done_when_it_is_launched(gpu):
    with contextlib.ExitStack() as owner:
        stream, buffer = cuda.Stream(owner), cuda.Buffer(owner, (4,), "uint8")
        buffer.host[:] = 7
        with stream.captured(owner) as graph:
            stream.upload(buffer)
            stream.download(buffer)
        for value in (8, 9):
            buffer.host[:] = value
            graph.launch()
            stream.wait()
            assert (buffer.host == value).all()
    assert gpu.leaked() == []


def test_an_error_amid_a_capture_ends_it(gpu):
    with contextlib.ExitStack() as owner:
        stream = cuda.Stream(owner)
        with pytest.raises(ZeroDivisionError), stream.captured(owner):
            raise ZeroDivisionError
        assert gpu.handles[int(stream)].captured is None


def test_without_cuda_bindings_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, cuda.RUNTIME, None)
    with pytest.raises(EngineError, match="python -m pip install cuda-bindings"):
        cuda.device_count()
