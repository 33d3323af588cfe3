"""What there is to find out on the day a GPU is there: sections in order of worth, each with a time limit of its own.

    python -m benchmarks.gpu_check [SECTION ...]

    seen        the driver, the GPUs, and what `apdraw doctor` says of them
    tensorrt    tests/gpu: builds, draws, compares; skipped where TensorRT is not installed
    plumbing    the engine's copies, streams and memory, under a stand-in for TensorRT whose kernel is torch's
    numerics    how far float16 and TensorFloat-32 are from the CPU's drawings
    alone       portraits a second of the networks alone, by width, precision and batch, against the roofline
    main        photos a second that one process takes, with an engine that costs nothing
    slots       whether memory that processes share can be registered with CUDA and copied from directly

All but `tensorrt` need torch with CUDA, or `cuda-bindings` alone, and work on GPUs that TensorRT for RTX does not know.
Each section runs in a process of its own, so that one that fails or hangs costs its own time only. See
docs/gpu-check.md.
"""

import argparse
import contextlib
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.kernels import tell
from engines.portrait import PortraitBatch
from engines.select import open_engine, shipped_model, survey
from engines.synthetic import synthetic_portraits
from engines.tensorrt import cuda

TESTS: Final = Path(__file__).parents[1] / "tests"

GIB: Final = 1 << 30


def seen() -> None:
    """The driver, the GPUs, and what draws on them."""
    tell(
        f"driver {cuda.driver_version()}, fault {cuda.driver_fault()}, GPUs {cuda.find_gpus()}, cores {os.cpu_count()}"
    )
    for status in survey():
        tell(f"  {status}")
    subprocess.run([sys.executable, "-m", "apdraw_cli", "doctor"], check=False)


def tensorrt() -> None:
    """The tests that need a GPU."""
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "0", str(TESTS / "gpu")], check=True)


def plumbing() -> None:
    """Copies, streams and memory of the real engine, around a kernel that inverts the mask."""
    import torch
    from fake_tensorrt import write_engine

    from engines.tensorrt.engine import TensorRTEngine

    def invert(photo: Any, landmarks: Any, mask: Any, drawing: Any) -> None:
        torch.bitwise_not(mask, out=drawing)

    capability = cuda.compute_capability(0)
    made = synthetic_portraits(16, seed=3)
    shifts = np.random.default_rng(0).integers(0, 16, 64)
    work = [PortraitBatch(*(np.roll(array, int(by), 0) for array in made.inputs().values())) for by in shifts]
    with tempfile.TemporaryDirectory() as folder:
        file = write_engine(
            Path(folder) / "e.engine", shipped_model(), batch_size=16, compute_capabilities=(capability,)
        )
        _stand_in(invert, capability, scratch=1 << 20)
        engine = TensorRTEngine(file, device="cuda:0")
        with ThreadPoolExecutor(4) as pool:
            drawn = pool.map(engine.draw, work)
            wrong = sum(not (drawing == ~batch.mask).all() for batch, drawing in zip(work, drawn, strict=True))
        start = time.perf_counter()
        with ThreadPoolExecutor(engine.concurrency) as pool:
            list(pool.map(engine.draw, work))
        taken = time.perf_counter() - start
        engine.close()
        tell(f"wrong batches: {wrong} of 64; copies and waits alone: {64 * 16 / taken:.0f} portraits/s")
        before = _free()
        for _ in range(20):
            TensorRTEngine(file, device="cuda:0").close()
        tell(f"lost by 20 openings: {(before - _free()) / 1e6:.1f} MB; threads: {threading.active_count()}")
        _stand_in(invert, capability, scratch=256 << 20)
        with contextlib.ExitStack() as owner:
            _fill(owner, leave=5 * GIB // 2)  # both lanes want 8 GiB
            engine = TensorRTEngine(file, device="cuda:0")
            right = all((engine.draw(batch) == ~batch.mask).all() for batch in work[:4])
            tell(f"with 2.5 GiB free: batches of {engine.batch_size}, right: {right}")
            engine.close()


def _stand_in(kernel: Callable[..., None], capability: str, scratch: int) -> None:
    """Makes `tensorrt` a module whose engines run a function of torch on the stream that they are given."""
    import fake_tensorrt
    import torch
    from fake_cuda import FakeCuda

    class Context(fake_tensorrt.IExecutionContext):
        def execute_async_v3(self, stream_handle: int) -> bool:
            count = self.shapes["photo"][0]
            with torch.cuda.stream(torch.cuda.ExternalStream(stream_handle)):
                kernel(*(_on_gpu(self.addresses[name], (count, *shape), kind) for name, shape, kind in _PORTS))
            return True

    library = fake_tensorrt.FakeTensorRT(FakeCuda(capabilities=[capability]))
    library.portrait_scratch = scratch
    fake_tensorrt.IExecutionContext = Context
    sys.modules["tensorrt"] = library.module()


_PORTS: Final = (
    ("photo", (512, 512, 3), "|u1"),
    ("landmarks", (5, 2), "<f4"),
    ("mask", (512, 512), "|u1"),
    ("drawing", (512, 512), "|u1"),
)


def _on_gpu(address: int, shape: tuple[int, ...], kind: str) -> Any:
    """Memory of the GPU as a tensor."""
    import torch

    described = {"shape": shape, "typestr": kind, "data": (address, False), "version": 3, "strides": None}
    return torch.as_tensor(types.SimpleNamespace(__cuda_array_interface__=described), device="cuda")


def _free() -> int:
    free: int = cuda.call("cudaMemGetInfo")[0]
    return free


def _fill(owner: contextlib.ExitStack, leave: int) -> None:
    """Takes all memory of the GPU but so many bytes."""
    step = 8 * GIB
    while step >= 64 << 20:
        if _free() - step < leave:
            step //= 2
            continue
        cuda.allocate(owner, step)


def numerics() -> None:
    """Drawings in each precision, against ONNX Runtime's on the CPU."""
    import torch

    from train.export.half import in_half, largest_difference
    from train.export.to_onnx import _joined
    from train.model_file import load_generator
    from train.networks.graph import DrawingGraph
    from train.samples import sample_portraits

    portraits = _joined(sample_portraits(), synthetic_portraits(4, seed=5))
    engine = open_engine(shipped_model(), engine="onnxruntime", device="cpu", precision="fp32")
    wanted = engine.draw(portraits).astype(np.int16)
    engine.close()
    tensors = [torch.from_numpy(array).cuda() for array in portraits.inputs().values()]
    generator, _ = load_generator(shipped_model().with_suffix(".safetensors"))
    half = in_half(generator, [name for name, _ in generator.named_children()])
    tell(
        "| computed in | mean | all but 1e-4 of the pixels | largest | over 32 | changed sides of 128 | by its batch |"
    )
    tell("|---|---|---|---|---|---|---|")
    for name, network, tf32, autocast in (
        ("float32", generator, False, None),
        ("TensorFloat-32", generator, True, None),
        ("half, as exported", half, False, None),
        ("autocast float16", generator, False, torch.float16),
        ("autocast bfloat16", generator, False, torch.bfloat16),
    ):
        torch.backends.cudnn.conv.fp32_precision = "tf32" if tf32 else "ieee"  # type: ignore[attr-defined]
        graph = DrawingGraph(network).cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.inference_mode(), torch.autocast("cuda", autocast, enabled=autocast is not None):
            found = graph(*tensors).cpu().numpy().astype(np.int16)
            alone = np.concatenate([graph(*(t[n : n + 1] for t in tensors)).cpu().numpy() for n in range(len(wanted))])
        off = np.abs(found - wanted)
        crossed = ((found <= 127) != (wanted <= 127)).mean()
        cells = (
            f"{off.mean(axis=(1, 2)).max():.4f}",
            largest_difference(off),
            off.max(),
            f"{(off > 32).mean():.1e}",
            f"{crossed:.1e}",
            np.abs(found - alone).max(),
        )
        tell(f"| {name} | {' | '.join(map(str, cells))} |")


def alone() -> None:
    """The networks alone, launched one kernel after the other and as a CUDA graph."""
    import torch

    from train.export.half import in_half
    from train.model_file import load_generator
    from train.networks import Generator, GeneratorConfig
    from train.networks.graph import DrawingGraph

    torch.backends.cudnn.benchmark = True
    models = {
        "shipped": load_generator(shipped_model().with_suffix(".safetensors"))[0],
        "width 64, photo norms": Generator(GeneratorConfig(64, norm_statistics="photo")).eval(),
        "width 64, running norms": Generator(GeneratorConfig(64)).eval(),
    }
    tell("| model | computed in | batch | portraits/s | as a CUDA graph |")
    tell("|---|---|---|---|---|")
    for name, generator in models.items():
        half = in_half(generator, [child for child, _ in generator.named_children()])
        for kind, network in (("float32", generator), ("half", half)):
            graph = DrawingGraph(network).cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for size in (1, 4, 16, 32):
                inputs = [torch.from_numpy(array).cuda() for array in synthetic_portraits(size).inputs().values()]
                eager, captured = _timed(graph, inputs)
                tell(f"| {name} | {kind} | {size} | {size / eager:.0f} | {size / captured:.0f} |")


def _timed(graph: Any, inputs: list[Any]) -> tuple[float, float]:
    """Seconds for a batch, launched kernel by kernel and as one CUDA graph."""
    import torch

    def seconds(run: Callable[[], object], calls: int = 8) -> float:
        run()
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / calls / 1e3

    with torch.inference_mode():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # cuDNN tries its algorithms
                graph(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            graph(*inputs)
        return seconds(lambda: graph(*inputs)), seconds(captured.replay)


def main_process() -> None:
    """The ceiling of one process, with as many workers as there are cores, and half of them."""
    from benchmarks import pipeline_ceiling

    cores = os.cpu_count() or 2
    for workers in sorted({max(1, cores // 2), cores - 1}):
        tell(str(pipeline_ceiling.measure((), workers, 12_000)))


def slots() -> None:
    """Copies from memory that processes share."""
    module = cuda.runtime()
    cuda.call("cudaSetDevice", 0)
    shared = mmap.mmap(-1, GIB)
    array = np.frombuffer(shared, np.uint8)
    array[:] = 1
    start = time.perf_counter()
    cuda.call("cudaHostRegister", array.ctypes.data, GIB, module.cudaHostRegisterDefault)
    tell(f"registering 1 GiB took {time.perf_counter() - start:.2f} s")
    kinds = module.cudaMemcpyKind
    with contextlib.ExitStack() as owner:
        stream, device, host = cuda.Stream(owner), cuda.allocate(owner, GIB), array.ctypes.data

        def copy(to: int, source: int, size: int, kind: Any) -> None:
            cuda.call("cudaMemcpyAsync", to, source, size, kind, stream._stream)

        with _clock("five copies of 1 GiB to the GPU"):
            for _ in range(5):
                copy(device, host, GIB, kinds.cudaMemcpyHostToDevice)
            stream.wait()
        with _clock("five copies of 1 GiB from the GPU"):
            for _ in range(5):
                copy(host, device, GIB, kinds.cudaMemcpyDeviceToHost)
            stream.wait()
        with _clock("1,000 copies of 1 MiB, a portrait each"):
            for number in range(1000):
                copy(device + (number << 20), host + (number << 20), 1 << 20, kinds.cudaMemcpyHostToDevice)
            stream.wait()
    cuda.call("cudaHostUnregister", array.ctypes.data)


@contextlib.contextmanager
def _clock(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    tell(f"{what}: {1e3 * (time.perf_counter() - start):.1f} ms")


SECTIONS: Final[dict[str, tuple[Callable[[], None], int]]] = {
    "seen": (seen, 60),
    "tensorrt": (tensorrt, 240),
    "plumbing": (plumbing, 90),
    "numerics": (numerics, 90),
    "alone": (alone, 120),
    "main": (main_process, 90),
    "slots": (slots, 30),
}
"""Each section, and the seconds that it may take."""


def main() -> int:
    """Does what the command line says; returns how many sections failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check")
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--here", action="store_true", help="run them in this process")
    given = parser.parse_args()
    names = given.sections or list(SECTIONS)
    if unknown := {*names} - SECTIONS.keys():
        parser.error(f"there is no section {min(unknown)}: choose from {', '.join(SECTIONS)}")
    if given.here:
        sys.path.insert(0, str(TESTS))
        for name in names:
            SECTIONS[name][0]()
        return 0
    table = []
    for name in names:
        tell(f"\n== {name}")
        start = time.monotonic()
        try:
            code: object = subprocess.run(
                [sys.executable, "-m", "benchmarks.gpu_check", "--here", name],
                timeout=SECTIONS[name][1],
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = "out of time"
        table.append((name, "done" if code == 0 else f"FAILED ({code})", f"{time.monotonic() - start:.0f} s"))
    tell("\n| section | result | time |\n|---|---|---|")
    for row in table:
        tell(f"| {' | '.join(row)} |")
    return sum(result != "done" for _, result, _ in table)


if __name__ == "__main__":
    sys.exit(main())
