"""The real thing: CUDA, TensorRT, and the other engines on an NVIDIA GPU, against ONNX Runtime on the CPU."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from apdraw_cli.commands.convert import _torch_module
from engines.base import Engine
from engines.portrait import Image, PortraitBatch
from engines.select import open_engine, shipped_model, survey
from engines.synthetic import synthetic_portraits
from engines.tensorrt import cuda
from engines.tensorrt.cuda import Gpu
from engines.tensorrt.engine import TensorRTEngine
from engines.tensorrt.sidecar import read_sidecar, runtime_cache_path

pytestmark = pytest.mark.gpu

BATCH = 4


@pytest.fixture(scope="session")
def portraits() -> PortraitBatch:
    return synthetic_portraits(3 * BATCH - 1, seed=1)


@pytest.fixture(scope="session")
def expected(gpu: Gpu, portraits: PortraitBatch) -> Image:
    engine = open_engine(shipped_model(), engine="onnxruntime", device="cpu", precision="fp32")
    return engine.draw(portraits)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def engine(tensorrt: str, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APDRAW_CACHE", str(cache))
    opened = open_engine(shipped_model(), engine="tensorrt", batch_size=BATCH, precision="fp32")
    yield opened
    opened.close()


def first(batch: PortraitBatch, count: int) -> PortraitBatch:
    return PortraitBatch(batch.photo[:count], batch.landmarks[:count], batch.mask[:count])


def assert_close(drawing: Image, expected: Image) -> None:
    """Within what TensorFloat-32 and another order of sums may change."""
    difference = np.abs(drawing.astype(int) - expected.astype(int))
    assert difference.mean() < 0.1
    assert (difference > 8).mean() < 1e-4


def test_the_driver_and_the_runtime_agree(cuda_bindings: None) -> None:
    gpus = cuda.find_gpus()
    assert cuda.device_count() == len(gpus)
    assert [cuda.compute_capability(number) for number in range(len(gpus))] == [gpu.compute_capability for gpu in gpus]
    assert cuda.driver_version()


@pytest.mark.parametrize("captured", [False, True])
def test_memory_goes_to_the_gpu_and_back(cuda_bindings: None, captured: bool) -> None:
    cuda.call("cudaSetDevice", 0)
    with contextlib.ExitStack() as owner:
        stream, buffer = cuda.Stream(owner), cuda.Buffer(owner, (1000, 1000), "float32")
        buffer.host[:] = np.arange(10**6).reshape(1000, 1000)
        stream.upload(buffer)
        stream.wait()
        buffer.host[:] = 0
        if captured:
            with stream.captured(owner) as graph:
                stream.download(buffer)
            assert not buffer.host.any()
            graph.launch()
        else:
            stream.download(buffer)
        stream.wait()
        assert (buffer.host.ravel() == np.arange(10**6)).all()


def test_too_much_memory_is_an_error_of_its_own(cuda_bindings: None) -> None:
    cuda.call("cudaSetDevice", 0)
    with contextlib.ExitStack() as owner:
        with pytest.raises(cuda.OutOfGpuMemoryError):
            cuda.allocate(owner, 1 << 50)
        assert cuda.allocate(owner, 1 << 20)


def test_auto_takes_tensorrt(tensorrt: str) -> None:
    assert [status.name for status in survey() if status.picked] == ["tensorrt"]


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1, 3 * BATCH - 1])
def test_tensorrt_draws_what_onnxruntime_draws(
    engine: Engine, portraits: PortraitBatch, expected: Image, count: int
) -> None:
    assert_close(engine.draw(first(portraits, count)), expected[:count])


def test_tensorrt_draws_for_several_threads(engine: Engine, portraits: PortraitBatch, expected: Image) -> None:
    with ThreadPoolExecutor(4) as pool:
        for drawing in pool.map(engine.draw, [portraits] * 8):
            assert_close(drawing, expected)


def test_tensorrt_draws_with_cuda_graphs(
    engine: Engine, cache: Path, portraits: PortraitBatch, expected: Image
) -> None:
    (path,) = cache.glob("engines/*/*.engine")
    graphs = TensorRTEngine(path, device="cuda:0", cuda_graph=True)
    for _ in range(3):
        assert_close(graphs.draw(portraits), expected)
    graphs.close()


def test_tensorrt_draws_on_all_gpus(tensorrt: str, cache, monkeypatch, portraits, expected) -> None:
    if len(cuda.find_gpus()) < 2:
        pytest.skip("needs two NVIDIA GPUs")
    monkeypatch.setenv("APDRAW_CACHE", str(cache))
    engine = open_engine(shipped_model(), engine="tensorrt", device="cuda", batch_size=BATCH, precision="fp32")
    with ThreadPoolExecutor(engine.concurrency) as pool:
        for drawing in pool.map(engine.draw, [portraits] * 8):
            assert_close(drawing, expected)
    engine.close()


def test_short_memory_halves_the_batch(engine: Engine, cache: Path, portraits, expected, caplog) -> None:
    (path,) = cache.glob("engines/*/*.engine")
    used = _free()
    both = TensorRTEngine(path, device="cuda:0")
    needed = used - _free()  # by an engine whose two lanes draw whole batches
    both.close()
    engine.close()
    with contextlib.ExitStack() as owner:
        part = _free() // 2
        while part > 32 << 20:  # leaves a little more than half of what is needed
            if _free() - part > 0.6 * needed:
                cuda.allocate(owner, part)
            else:
                part //= 2
        small = TensorRTEngine(path, device="cuda:0")
        assert small.batch_size < BATCH
        assert "at once" in caplog.text
        assert_close(small.draw(portraits), expected)
        small.close()


def _free() -> int:
    free: int = cuda.call("cudaMemGetInfo")[0]
    return free


def test_kernels_are_compiled_at_the_first_start_only(tensorrt: str, engine: Engine, cache: Path, caplog) -> None:
    """Of TensorRT for RTX, which compiles them on the GPU that draws."""
    (path,) = cache.glob("engines/*/*.engine")
    assert runtime_cache_path(path).exists() == (tensorrt == "tensorrt-rtx")
    caplog.clear()
    TensorRTEngine(path, device="cuda:0").close()
    assert "compiling kernels" not in caplog.text


@pytest.mark.parametrize("size", [4, 16, 32])
def test_it_draws_many_portraits_a_second(tensorrt: str, monkeypatch, tmp_path, record_property, size: int) -> None:
    """Tells how many; any GPU draws more than two cores of a CPU do."""
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path))
    engine = open_engine(shipped_model(), engine="tensorrt", batch_size=size)
    batches = [synthetic_portraits(size, seed) for seed in range(2)] * 16
    with ThreadPoolExecutor(engine.concurrency) as pool:
        list(pool.map(engine.draw, batches))
        start = time.perf_counter()
        list(pool.map(engine.draw, batches))
        speed = len(batches) * size / (time.perf_counter() - start)
    precision = engine.precision
    engine.close()
    record_property("portraits_per_second", speed)
    print(f"batches of {size} in {precision}: {speed:.0f} portraits/s")  # noqa: T201
    assert speed > 50


def test_an_engine_can_be_opened_and_closed_again_and_again(engine: Engine, cache: Path) -> None:
    (path,) = cache.glob("engines/*/*.engine")
    TensorRTEngine(path, device="cuda:0").close()
    free = cuda.runtime().cudaMemGetInfo()[1]
    for _ in range(5):
        TensorRTEngine(path, device="cuda:0").close()
    assert cuda.runtime().cudaMemGetInfo()[1] > free - (64 << 20)
    assert threading.active_count() < 50
    assert read_sidecar(path).batch_size == BATCH


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_the_other_engines_draw_the_same_on_the_gpu(gpu, portraits, expected, name: str) -> None:
    status = next(status for status in survey() if status.name == name)
    if "cuda:0" not in status.devices:
        pytest.skip(f"{name} cannot draw on a GPU here: {status.reason}; {status.remedy}")
    engine = open_engine(shipped_model(), engine=name, device="cuda:0", precision="fp32", load_module=_torch_module)
    assert engine.device == "cuda:0"
    assert_close(engine.draw(portraits), expected)
    engine.close()


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "tensorrt"])
def test_half_precision_keeps_the_drawing(gpu, monkeypatch, tmp_path, portraits, expected, name: str) -> None:
    status = next(status for status in survey() if status.name == name)
    if "cuda:0" not in status.devices:
        pytest.skip(f"{name} cannot draw on a GPU here: {status.reason}; {status.remedy}")
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path))
    engine = open_engine(
        shipped_model(), engine=name, device="cuda:0", precision="fp16", batch_size=BATCH, load_module=_torch_module
    )
    assert engine.precision == "fp16"
    difference = np.abs(engine.draw(portraits).astype(int) - expected)
    assert difference.mean() < 0.2
    assert (difference > 16).mean() < 1e-3
    engine.close()


def test_a_batch_trains_on_the_gpu_as_on_the_cpu(gpu: Gpu) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this build of torch has no CUDA")
    from train.networks.norm import Norm

    x = torch.randn(3, 6, 32, 32, generator=torch.Generator().manual_seed(0)) * 3 + 2
    found = []
    for device in ("cpu", "cuda"):
        photos = x.to(device).requires_grad_()
        drawn = Norm(6, "photo").to(device)(photos)
        (drawn * photos).sum().backward()
        found.append((drawn.cpu(), photos.grad.cpu()))
    for on_cpu, on_gpu in zip(*found, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, atol=1e-3, rtol=1e-3)
