"""The TensorRT engine on a fake GPU that does nothing before somebody waits for it, and forgives nothing."""

import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import onnxruntime
import pytest
from fake_cuda import FakeCuda, Fault, cudaError_t
from fake_cuda import install as install_cuda
from fake_tensorrt import CudaGraphStrategy, FakeTensorRT, install, write_engine

from engines.base import EngineRequest
from engines.errors import CudaError, EngineError, ModelFileError
from engines.installed import pip_install
from engines.multi_gpu import MultiGpuEngine
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.options import BuildOptions
from engines.portrait import SIZE, PortraitBatch
from engines.select import open_engine, read_metadata, read_model, shipped_model
from engines.synthetic import synthetic_portraits
from engines.tensorrt import cuda
from engines.tensorrt.build import build_engine
from engines.tensorrt.engine import TensorRTEngine
from engines.tensorrt.library import log_of
from engines.tensorrt.sidecar import sidecar_path

N = 4  # portraits in a batch
PORTRAIT_BYTES = SIZE * SIZE * 5 + 40  # of photo, mask, drawing and landmarks


@pytest.fixture
def gpu(monkeypatch):
    return FakeCuda()


@pytest.fixture
def tensorrt(monkeypatch, gpu):
    library = FakeTensorRT(gpu)
    install(monkeypatch, gpu, library)
    return library


@pytest.fixture
def engine_file(tmp_path, tensorrt, tiny_model):
    return write_engine(tmp_path / "tiny.engine", tiny_model)


@pytest.fixture
def engine(gpu, engine_file):
    opened = TensorRTEngine(engine_file, device="cuda:0")
    yield opened
    opened.close()
    assert gpu.leaked() == []


def opening(engine_file, **options):
    """The one line of an attempt to open that must fail, with nothing left behind."""
    with pytest.raises(EngineError) as caught:
        TensorRTEngine(engine_file, **{"device": "cuda:0", **options})
    message = str(caught.value)
    assert "\n" not in message
    return message


def part(batch, start, stop):
    return PortraitBatch(batch.photo[start:stop], batch.landmarks[start:stop], batch.mask[start:stop])


def test_it_says_what_it_is(engine):
    assert (engine.name, engine.device, engine.precision, engine.batch_size) == ("tensorrt", "cuda:0", "fp32", N)
    assert engine.concurrency == 2


@pytest.mark.parametrize("count", [1, N - 1, N, N + 1, 3 * N - 1])
def test_it_draws_what_onnxruntime_draws(engine, tiny_model, make_batch, count):
    batch = make_batch(count)
    other = OnnxRuntimeEngine(EngineRequest(tiny_model, read_metadata(tiny_model)))
    drawing = engine.draw(batch)
    assert drawing.dtype == np.uint8
    assert (drawing == other.draw(batch)).all()


def test_it_draws_the_shipped_model(tmp_path, gpu, tensorrt):
    engine = TensorRTEngine(write_engine(tmp_path / "a.engine", shipped_model(), batch_size=1), device="cuda:0")
    batch = synthetic_portraits(1)
    other = open_engine(shipped_model(), engine="onnxruntime", device="cpu")
    assert (engine.draw(batch) == other.draw(batch)).all()


def test_batches_after_one_another_do_not_mix(engine, make_batch, expected_drawing):
    batches = [make_batch(1 + seed % N, seed) for seed in range(7)]
    drawings = [engine.draw(batch) for batch in batches]
    for batch, drawing in zip(batches, drawings, strict=True):
        assert (drawing == expected_drawing(batch)).all()


def test_many_threads_get_their_own_drawings_on_two_streams(gpu, engine, make_batch, expected_drawing):
    batches = [make_batch(1 + seed % 6, seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for batch, drawing in zip(batches, pool.map(engine.draw, batches), strict=True):
            assert (drawing == expected_drawing(batch)).all()
    streams = [handle for handle in gpu.handles.values() if type(handle).__name__ == "Stream"]
    assert len(streams) == 2
    assert min(stream.done for stream in streams) > 10


def test_two_batches_on_their_way_share_nothing(engine):
    for lane in engine._lanes:  # the fake fails where work of two streams meets
        lane._enqueue(lane._stream)
    for lane in engine._lanes:
        lane._stream.wait()


def test_the_rest_of_a_batch_is_padded_with_valid_portraits(gpu, engine, make_batch, monkeypatch):
    seen = []
    run = onnxruntime.InferenceSession.run

    def recorded(self, names, inputs):
        seen.append(inputs)
        return run(self, names, inputs)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", recorded)
    batch = make_batch(1)
    engine.draw(batch)
    (inputs,) = seen
    assert len(inputs["photo"]) == N
    assert (inputs["photo"][:1] == batch.photo).all()
    assert not inputs["photo"][1:].any()
    assert not inputs["landmarks"][1:].any()


def test_whatever_is_read_only_or_strided_is_drawn(engine, make_batch, expected_drawing):
    batch = make_batch(2)
    strided = PortraitBatch(batch.photo[:, ::-1], batch.landmarks[::-1], batch.mask[:, :, ::-1])
    assert (engine.draw(strided) == expected_drawing(strided)).all()


def test_a_wrong_batch_is_refused(engine, make_batch):
    batch = make_batch(2)
    with pytest.raises(EngineError, match="cannot draw a batch"):
        engine.draw(PortraitBatch(batch.photo, batch.landmarks, batch.mask[:1]))


def test_a_closed_engine_draws_no_more_and_keeps_nothing(gpu, engine, make_batch):
    engine.close()
    engine.close()
    assert gpu.leaked() == []
    for _ in range(3):
        with pytest.raises(EngineError, match="closed"):
            engine.draw(make_batch(1))


def test_closing_waits_for_calls_in_flight(gpu, engine, make_batch, expected_drawing):
    batch, drawings = make_batch(3 * N), []
    thread = threading.Thread(target=lambda: drawings.append(engine.draw(batch)))
    lane = engine._free.get()  # so that the thread cannot have ended when the engine is closed
    thread.start()
    closer = threading.Thread(target=engine.close)
    closer.start()
    engine._free.put(lane)
    thread.join(30)
    closer.join(30)
    assert not closer.is_alive()
    assert drawings == [] or (drawings[0] == expected_drawing(batch)).all()


@pytest.mark.parametrize("flavor", ["tensorrt", "tensorrt-rtx"])
def test_with_cuda_graphs_it_draws_the_same(
    monkeypatch, tmp_path, gpu, tiny_model, make_batch, expected_drawing, flavor
):
    library = FakeTensorRT(gpu, flavor)
    install(monkeypatch, gpu, library)
    path = write_engine(tmp_path / "tiny.engine", tiny_model, flavor=flavor)
    engine = TensorRTEngine(path, device="cuda:0", cuda_graph=True)
    for seed in range(4):
        batch = make_batch(1 + seed, seed)
        assert (engine.draw(batch) == expected_drawing(batch)).all()
    engine.close()
    assert gpu.leaked() == []
    assert gpu.calls.count("cudaGraphLaunch") == (4 if flavor == "tensorrt" else 0)
    assert library.graph_strategies == [CudaGraphStrategy.WHOLE_GRAPH_CAPTURE] * (0 if flavor == "tensorrt" else 2)


def test_both_flavors_draw(monkeypatch, tmp_path, gpu, tiny_model, make_batch, expected_drawing):
    install(monkeypatch, gpu, FakeTensorRT(gpu, "tensorrt-rtx", "1.7.1.116"))
    path = write_engine(tmp_path / "tiny.engine", tiny_model, flavor="tensorrt-rtx", version="1.7.1.116")
    batch = make_batch(2)
    assert (TensorRTEngine(path, device="cuda:0").draw(batch) == expected_drawing(batch)).all()


def test_where_both_are_installed_the_one_that_built_the_engine_draws(monkeypatch, tmp_path, gpu, tensorrt, tiny_model):
    rtx = FakeTensorRT(gpu, "tensorrt-rtx", "1.7.1.116")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", rtx.module())
    path = write_engine(tmp_path / "tiny.engine", tiny_model, flavor="tensorrt-rtx", version="1.7.1.116")
    TensorRTEngine(path, device="cuda:0")
    assert (tensorrt.deserialised, rtx.deserialised) == (0, 1)


def test_two_gpus_share_the_work(monkeypatch, tmp_path, tiny_model, make_batch, expected_drawing):
    gpu = FakeCuda(capabilities=["8.9", "8.9"])
    install(monkeypatch, gpu, FakeTensorRT(gpu))
    path = write_engine(tmp_path / "tiny.engine", tiny_model)
    engine = MultiGpuEngine([TensorRTEngine(path, device=f"cuda:{number}") for number in (0, 1)])
    assert (engine.device, engine.batch_size, engine.concurrency) == ("cuda:0,cuda:1", N, 4)
    batches = [make_batch(1 + seed % 6, seed) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        for batch, drawing in zip(batches, pool.map(engine.draw, batches), strict=True):
            assert (drawing == expected_drawing(batch)).all()
    streams = [handle for handle in gpu.handles.values() if type(handle).__name__ == "Stream"]
    assert sorted(stream.device for stream in streams) == [0, 0, 1, 1]
    assert min(stream.done for stream in streams) > 10
    engine.close()
    engine.close()
    assert gpu.leaked() == []
    with pytest.raises(EngineError, match="closed"):
        engine.draw(make_batch(1))


def test_onnxruntime_sees_one_batch_size_on_a_gpu(tiny_model, make_batch, expected_drawing, monkeypatch):
    engine = OnnxRuntimeEngine(EngineRequest(tiny_model, read_metadata(tiny_model), batch_size=N))
    engine.device = "cuda:0"
    run, sizes = onnxruntime.InferenceSession.run, []

    def recorded(self, names, inputs):
        sizes.extend(len(array) for array in inputs.values())
        return run(self, names, inputs)

    batches = [make_batch(count, count) for count in (1, N, N + 1)]
    wanted = [expected_drawing(batch) for batch in batches]
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", recorded)
    for batch, drawing in zip(batches, wanted, strict=True):
        assert (engine.draw(batch) == drawing).all()
    assert {*sizes} == {N}


def test_short_memory_halves_the_batch_and_says_so_once(
    gpu, tensorrt, engine_file, make_batch, expected_drawing, caplog
):
    tensorrt.portrait_scratch = 8 << 20
    gpu.room = 2 * (PORTRAIT_BYTES + tensorrt.portrait_scratch) + 4096  # one portrait in each of two lanes
    with caplog.at_level(logging.WARNING):
        engine = TensorRTEngine(engine_file, device="cuda:0")
    assert engine.batch_size == 1
    batch = make_batch(3)
    assert (engine.draw(batch) == expected_drawing(batch)).all()
    assert caplog.text.count("cuda:0 does not hold 4 portraits at once") == 1
    assert len(caplog.records) == 1
    assert caplog.records[0].name.startswith("apdraw.engines")
    engine.close()
    assert gpu.leaked() == []


def test_memory_that_gets_short_while_drawing_halves_the_batch(
    gpu, tensorrt, engine, make_batch, expected_drawing, caplog, monkeypatch
):
    batch = make_batch(2 * N)
    rejected = []

    def execute(real):
        def execute_async_v3(self, stream_handle):
            if self.shapes["photo"][0] > 1:
                rejected.append(self.shapes["photo"][0])
                self.logger.log(self.logger.Severity.ERROR, "Error Code 2: OutOfMemory (no space for a plan)")
                return False
            return real(self, stream_handle)

        return execute_async_v3

    context = type(engine._lanes[0]._context)
    monkeypatch.setattr(context, "execute_async_v3", execute(context.execute_async_v3))
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(2) as pool:
        for drawing in pool.map(engine.draw, [batch] * 4):
            assert (drawing == expected_drawing(batch)).all()
    assert engine.batch_size == 1
    assert {*rejected} == {4, 2}
    assert len(caplog.records) == 1


def test_a_lane_whose_memory_is_short_halves_only_itself(gpu, tensorrt, engine, make_batch, expected_drawing, caplog):
    one, other = engine._lanes
    batch = make_batch(2 * N)
    one.close()
    gpu.room = gpu.in_use + PORTRAIT_BYTES * (N // 2) + (N // 2) * tensorrt.portrait_scratch
    gpu.spills = True  # nothing may be asked for that is not free
    for _ in range(4):
        assert (engine.draw(batch) == expected_drawing(batch)).all()
    assert (one.limit, other.limit, engine.batch_size) == (N // 2, N, N)
    assert len(caplog.records) == 1


def test_an_error_of_another_thread_is_not_taken_for_this_one_s(tensorrt, engine_file):
    log = log_of(tensorrt.module())
    log.forget()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(log.take).result()
        pool.submit(log.log, log.Severity.ERROR, "OutOfMemory in the other").result()
        log.log(log.Severity.ERROR, "mine")
        log.log(log.Severity.VERBOSE, "chatter")
        assert log.take() == ["mine"]
        assert log.take() == []
        assert pool.submit(log.take).result() == ["OutOfMemory in the other"]
        with ThreadPoolExecutor(1) as own:  # a thread of TensorRT's own
            own.submit(log.log, log.Severity.ERROR, "from a worker").result()
        assert log.take() == ["from a worker"]


def test_kernels_are_compiled_once_and_kept_beside_the_engine(monkeypatch, tmp_path, gpu, tiny_model, caplog):
    rtx = FakeTensorRT(gpu, "tensorrt-rtx", "1.7.1")
    install(monkeypatch, gpu, rtx)
    path = write_engine(tmp_path / "tiny.engine", tiny_model, flavor="tensorrt-rtx", version="1.7.1")
    kept = tmp_path / "tiny.engine.cache"
    for compiled, told in ((1, 1), (1, 1)):  # both lanes share them, and so do both starts
        TensorRTEngine(path, device="cuda:0").close()
        assert (rtx.compiled, caplog.text.count("compiling kernels")) == (compiled, told)
    assert kept.read_bytes() == f"1.7.1:{N}".encode()
    kept.write_bytes(b"another version's")
    TensorRTEngine(path, device="cuda:0").close()
    assert rtx.compiled == 2
    assert kept.read_bytes() == f"1.7.1:{N}".encode()


def test_memory_for_not_even_one_portrait_is_an_error(gpu, engine_file):
    gpu.room = PORTRAIT_BYTES // 2
    message = opening(engine_file)
    assert "cuda:0: its memory does not hold one portrait" in message
    assert "--device" in message
    assert gpu.leaked() == []


CALLS = [
    name
    for name in FakeCuda().functions()
    if name not in ("cudaGetErrorString", "cudaGetLastError") and "Graph" not in name and "Capture" not in name
]
FREEING = [name for name in CALLS if "Free" in name or "Destroy" in name]


@pytest.mark.parametrize("call", [name for name in CALLS if name not in FREEING])
def test_an_error_code_of_any_call_is_an_error(gpu, engine_file, make_batch, call):
    gpu.fail[call] = cudaError_t.cudaErrorInvalidValue
    message = opening(engine_file)
    assert f"{call} failed: text of cudaErrorInvalidValue (cudaErrorInvalidValue)" in message
    gpu.fail.clear()
    assert gpu.leaked() == []


@pytest.mark.parametrize("call", ["cudaSetDevice", "cudaMemcpyAsync", "cudaEventRecord", "cudaEventSynchronize"])
def test_an_error_code_while_drawing_is_an_error_and_the_next_batch_is_drawn(
    gpu, engine, make_batch, expected_drawing, call
):
    batch = make_batch(2)
    gpu.fail[call] = cudaError_t.cudaErrorInvalidValue
    with pytest.raises(EngineError, match=rf"^tensorrt failed on cuda:0 on a batch of 2: {call} failed: [^\n]+$"):
        engine.draw(batch)
    gpu.fail.clear()
    for _ in range(3):
        assert (engine.draw(batch) == expected_drawing(batch)).all()


def test_a_gpu_that_is_lost_stays_lost_and_hangs_nothing(gpu, engine_file, make_batch):
    """After an illegal address CUDA answers every call of the process with that error."""
    engine = TensorRTEngine(engine_file, device="cuda:0")
    gpu.fail["cudaEventSynchronize"] = cudaError_t.cudaErrorIllegalAddress
    for _ in range(2 * engine.concurrency):
        with pytest.raises(EngineError, match=r"^tensorrt failed on cuda:0 on a batch of 2: cuda\w+ failed: [^\n]+$"):
            engine.draw(make_batch(2))
        gpu.fail.clear()
    engine.close()
    assert "cudaErrorIllegalAddress" in opening(engine_file)


def test_a_capture_is_disturbed_by_its_own_thread_only(gpu, monkeypatch):
    install_cuda(monkeypatch, gpu)
    with ExitStack() as owner, ThreadPoolExecutor(1) as pool:
        stream = cuda.Stream(owner)
        buffer = cuda.Buffer(owner, (2, 3), "float32")
        with stream.captured(owner) as graph:
            stream.upload(buffer)
            pool.submit(cuda.allocate, owner, 100).result()  # as another lane does
            with pytest.raises(CudaError, match="cudaErrorIllegalState"), stream.captured(owner):
                pass
        graph.launch()
        stream.wait()
        with pytest.raises(CudaError, match="cudaErrorStreamCaptureUnsupported"), stream.captured(owner):
            cuda.allocate(owner, 100)
        stream.upload(buffer)
        stream.wait()


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_an_error_code_of_a_capture_is_an_error(gpu, engine_file, call):
    gpu.fail[call] = cudaError_t.cudaErrorInvalidValue
    assert f"{call} failed" in opening(engine_file, cuda_graph=True)
    gpu.fail.clear()


@pytest.mark.parametrize("call", FREEING)
def test_an_error_code_while_freeing_stops_nothing(gpu, engine_file, call):
    engine = TensorRTEngine(engine_file, device="cuda:0")
    gpu.fail[call] = cudaError_t.cudaErrorIllegalAddress
    engine.close()


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("deserialize_cuda_engine", None),
        ("create_execution_context", None),
        ("set_optimization_profile_async", False),
        ("set_input_shape", False),
        ("set_tensor_address", False),
        ("update_device_memory_size_for_shapes", 0),
        ("execute_async_v3", False),
    ],
)
def test_what_tensorrt_refuses_is_an_error_with_its_words(gpu, tensorrt, engine_file, method, result):
    tensorrt.fail[method] = (result, f"[{method}] went wrong\nin two lines")
    assert f"[{method}] went wrong" in opening(engine_file)
    assert gpu.leaked() == []


@pytest.mark.parametrize("error", [RuntimeError("CUDA initialization failure"), TypeError("incompatible function")])
def test_what_the_bindings_raise_is_one_line(monkeypatch, tensorrt, engine_file, error):
    def broken(self, serialized_engine):
        raise error

    monkeypatch.setattr("fake_tensorrt.Runtime.deserialize_cuda_engine", broken)
    assert str(error) in opening(engine_file)


def test_without_a_gpu_nothing_of_tensorrt_is_called(monkeypatch, gpu, tensorrt, engine_file):
    gpu.capabilities.clear()
    assert "CUDA finds 0 GPUs here" in opening(engine_file)
    gpu.fail["cudaGetDeviceCount"] = cudaError_t.cudaErrorInsufficientDriver
    assert "text of cudaErrorInsufficientDriver" in opening(engine_file)
    assert tensorrt.deserialised == 0


def test_without_cuda_bindings_it_says_what_to_install(monkeypatch, engine_file):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert "python -m pip install cuda-bindings" in opening(engine_file)


def test_without_tensorrt_it_says_what_to_install(monkeypatch, tensorrt, engine_file):
    for module in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
    assert pip_install("tensorrt") in opening(engine_file)  # the flavor that built the engine


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "11.2.0"}, "built for tensorrt 11.2.0, and 11.4.0 is what is installed here"),
        ({"flavor": "tensorrt-rtx"}, "built for tensorrt-rtx, and tensorrt is what is installed here"),
        ({"compute_capabilities": ("8.6", "12.0")}, "built for GPUs of compute capability 8.6, 12.0"),
        ({"platform": "windows-amd64"}, "built for windows-amd64"),
        ({"engine_sha256": "0" * 64}, "is damaged, or not the engine that"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused_and_never_loaded(tmp_path, tensorrt, tiny_model, changes, words):
    path = write_engine(tmp_path / "tiny.engine", tiny_model, **changes)
    message = opening(path)
    assert words in message
    assert "rebuild with: apdraw build-engine" in message
    assert tensorrt.deserialised == 0


def test_a_damaged_engine_is_never_loaded(tensorrt, engine_file):
    content = bytearray(engine_file.read_bytes())
    content[len(content) // 2] ^= 1
    engine_file.write_bytes(content)
    assert "damaged" in opening(engine_file)
    engine_file.write_bytes(content[:-10])
    assert "damaged" in opening(engine_file)
    assert tensorrt.deserialised == 0


def test_swapped_engines_are_never_loaded(tmp_path, tensorrt, tiny_model, write_model):
    other = write_model("other.onnx", metadata={"format": "apdraw-generator", "format_version": "1", "name": "other"})
    one, two = (write_engine(tmp_path / f"{m.stem}.engine", m) for m in (tiny_model, other))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    for path in (one, two):
        assert "not the engine that" in opening(path)
    assert tensorrt.deserialised == 0


@pytest.mark.parametrize("sidecar", [None, "", "{}", "[]", '{"format_version": 2}', '{"format_version": 1}'])
def test_an_engine_without_a_good_sidecar_is_never_loaded(tensorrt, engine_file, sidecar):
    if sidecar is None:
        sidecar_path(engine_file).unlink()
    else:
        sidecar_path(engine_file).write_text(sidecar)
    message = opening(engine_file)
    assert sidecar_path(engine_file).name in message
    assert "rebuild with" in message
    assert tensorrt.deserialised == 0


def test_a_real_engine_is_refused_before_the_real_library_loads_it(monkeypatch, tmp_path, gpu, tiny_model):
    real = pytest.importorskip("tensorrt_rtx")
    path = tmp_path / "real.engine"
    build_engine(tiny_model, path, BuildOptions("tensorrt-rtx", N, compute_capabilities=("8.6",)))

    def load(log):
        raise Fault("the engine was loaded")

    install_cuda(monkeypatch, gpu)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(real, "Runtime", load)
    assert "built for GPUs of compute capability 8.6, and the one here has 8.9" in opening(path)
    gpu.capabilities[0] = "8.6"
    with pytest.raises(Fault, match="was loaded"):  # what fits goes on to be loaded
        TensorRTEngine(path, device="cuda:0")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "damaged" in opening(path)


def test_an_engine_that_is_no_generator_is_refused(gpu, tmp_path, tensorrt, write_model):
    path = write_engine(tmp_path / "wrong.engine", write_model("wrong.onnx", extra_input=True))
    with pytest.raises(ModelFileError, match=r"^[^\n]*is not a portrait generator[^\n]*$"):
        TensorRTEngine(path, device="cuda:0")
    assert gpu.leaked() == []


def test_an_engine_tells_of_the_model_that_it_was_built_from(engine_file, tiny_model):
    assert read_model(engine_file) == read_metadata(tiny_model)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "fp16"}, "it computes in fp32; use --precision fp32"),
        ({"batch_size": N + 1}, "it was built for 4; rebuild with: apdraw build-engine"),
    ],
)
def test_what_an_engine_was_not_built_for_is_an_error(tensorrt, engine_file, options, words):
    assert words in opening(engine_file, **options)
    assert tensorrt.deserialised == 0


def test_a_smaller_batch_than_the_engine_was_built_for(engine_file, make_batch, expected_drawing):
    engine = TensorRTEngine(engine_file, device="cuda:0", batch_size=3, precision="fp32")
    assert engine.batch_size == 3
    batch = make_batch(5)
    assert (engine.draw(batch) == expected_drawing(batch)).all()


def test_the_fake_notices_what_a_gpu_would_not_forgive(gpu, monkeypatch):
    """The tests above could not fail if it did not."""
    install_cuda(monkeypatch, gpu)
    with ExitStack() as owner, ExitStack() as other:
        one, two = cuda.Stream(owner), cuda.Stream(owner)
        buffer = cuda.Buffer(other, (2, 3), "float32")
        buffer.host[:] = 1
        one.upload(buffer)
        buffer.host[:] = 2
        with pytest.raises(Fault, match="two streams"):
            two.download(buffer)
        with pytest.raises(Fault, match="freed that work still needs"):
            cuda.call("cudaFree", buffer.device)
        one.wait()
        buffer.host[:] = 0
        two.download(buffer)
        assert not buffer.host.any()
        two.wait()
        assert (buffer.host == 2).all()
        with pytest.raises(Fault, match="25 bytes"):
            cuda.call("cudaMemcpyAsync", buffer.device, buffer.host.ctypes.data, 25, 1, one._stream)
        kept = buffer.host
        other.close()
        assert not (kept == 2).any()
        with pytest.raises(Fault, match="freed"):
            one.upload(buffer)
