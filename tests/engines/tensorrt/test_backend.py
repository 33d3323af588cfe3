"""A machine with GPUs and TensorRT, both fake: what `auto` takes there, what is built, and what is kept."""

import dataclasses
import json
import logging
import os
import sys
import threading
import time

import numpy as np
import onnx
import pytest
from fake_cuda import FakeCuda, cudaError_t
from fake_tensorrt import FakeTensorRT, install, write_engine
from fake_tensorrt_builder import opened, plan

from engines import select
from engines.errors import EngineError, FileWriteError, ModelFileError
from engines.installed import pip_install
from engines.model_info import read_metadata, sha256
from engines.registry import backends
from engines.select import open_engine, survey
from engines.tensorrt import backend, build, library, trial
from engines.tensorrt import engine_cache as cache
from engines.tensorrt.cuda import Gpu
from engines.tensorrt.sidecar import read_sidecar, sidecar_path, write_sidecar
from engines.tensorrt.trial import reference_path

GPUS = (Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA T4", "7.5"))


@pytest.fixture
def gpu():
    return FakeCuda(capabilities=["8.9", "7.5"])


@pytest.fixture
def tensorrt(monkeypatch, tmp_path, gpu):
    library = FakeTensorRT(gpu)
    install(monkeypatch, gpu, library)
    monkeypatch.setattr(select, "find_gpus", lambda: GPUS)
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "GPU_BATCH_SIZE", 3)
    return library


@pytest.fixture
def builds(monkeypatch, gpu, tensorrt):
    """The options of the builds so far; they are done by the fake."""
    done = []

    def build_engine(onnx, out, options, **rest):
        done.append(options)
        capability = gpu.capabilities[int(options.device[-1])]
        changes = {"version": tensorrt.version, "flavor": options.flavor, "batch_size": options.batch_size}
        write_engine(out, onnx, compute_capabilities=(capability,), **changes)
        return read_sidecar(out)

    monkeypatch.setattr(build, "build_engine", build_engine)
    return done


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "engines").glob("*/*"))


def test_auto_builds_once_says_so_and_draws(tmp_path, builds, tiny_model, make_batch, expected_drawing, caplog):
    batch = make_batch(3)
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            engine = open_engine(tiny_model)
        assert (engine.name, engine.device, engine.precision) == ("tensorrt", "cuda:0", "fp32")
        assert (engine.draw(batch) == expected_drawing(batch)).all()
        engine.close()
    assert len(builds) == 1
    assert builds[0].batch_size == engine.batch_size == 3
    assert kept(tmp_path) == ["tiny.engine", "tiny.engine.json", "tiny.engine.npz"]
    (record,) = caplog.records
    said = record.getMessage()
    for words in ("building an engine of tiny.onnx in fp32 for cuda:0 (NVIDIA L4)", "several minutes", str(tmp_path)):
        assert words in said
    assert "apdraw export MODEL.safetensors tiny.fp16.onnx --precision fp16" in said


def test_everything_that_matters_makes_another_engine(monkeypatch, builds, tensorrt, tiny_model, write_model, gpu):
    def opened(model=tiny_model, **options):
        open_engine(model, engine="tensorrt", **options).close()
        return len(builds)

    assert [opened(), opened()] == [1, 1]
    assert opened(batch_size=2) == 2
    assert opened(device="cuda:1") == 3
    other = write_model("other.onnx", metadata={"format": "apdraw-generator", "format_version": "1", "name": "other"})
    assert opened(other) == 4
    tensorrt.version = "11.5.0"
    install(monkeypatch, gpu, tensorrt)
    assert [opened(), opened()] == [5, 5]
    monkeypatch.setattr(cache, "this_platform", lambda: "linux-aarch64")
    assert opened() == 6


def test_engines_of_other_versions_and_killed_builds_are_removed(
    tmp_path, builds, tensorrt, tiny_model, gpu, monkeypatch
):
    open_engine(tiny_model).close()
    folder = tmp_path / "cache" / "engines"
    for name, age in ((".killed", 2), (".at_work", 0)):
        (folder / name).mkdir()
        then = time.time() - age * cache.ABANDONED_SECONDS
        os.utime(folder / name, (then, then))
    tensorrt.version = "11.5.0"
    install(monkeypatch, gpu, tensorrt)
    open_engine(tiny_model).close()
    assert len(builds) == 2
    left = [entry for entry in folder.iterdir() if entry.name[0] != "."]
    assert [read_sidecar(entry / "tiny.engine").version for entry in left] == ["11.5.0"]
    assert [entry.name for entry in folder.glob(".*")] == [".at_work"]


def test_a_driver_that_does_not_start_is_told(monkeypatch, tiny_pair, caplog):
    monkeypatch.setattr(select, "driver_fault", lambda: "the NVIDIA driver does not start: 802")
    with caplog.at_level(logging.WARNING):
        assert open_engine(tiny_pair).device == "cpu"
    assert [record.getMessage() for record in caplog.records] == [
        "drawing on the CPU: the NVIDIA driver does not start: 802"
    ]
    with pytest.raises(EngineError, match="cannot draw on cuda: the NVIDIA driver does not start: 802; use"):
        open_engine(tiny_pair, device="cuda")


def test_an_engine_that_draws_wrong_is_thrown_away_and_the_next_one_draws(
    tmp_path, builds, tensorrt, tiny_pair, make_batch, expected_drawing, gpu, caplog
):
    tensorrt.spoilt = 1
    with caplog.at_level(logging.WARNING):
        engine = open_engine(tiny_pair)
    assert engine.device == "cpu"
    batch = make_batch(2)
    assert (engine.draw(batch) == expected_drawing(batch)).all()
    assert len(builds) == 1
    assert kept(tmp_path) == []
    assert gpu.leaked() == []
    (said,) = [record.getMessage() for record in caplog.records][1:]
    assert "draws wrong (1.000 grey levels off on average" in said
    with pytest.raises(EngineError, match="draws wrong"):
        open_engine(tiny_pair, engine="tensorrt")


def test_an_engine_is_tried_whenever_it_is_opened(tmp_path, builds, tensorrt, tiny_model):
    open_engine(tiny_model).close()
    (path,) = (tmp_path / "cache").glob("engines/*/*.engine")
    assert read_sidecar(path).options["trial"].startswith("on cuda:0: 0.000 grey levels off on average")
    tensorrt.spoilt = 1  # as another driver might
    with pytest.raises(EngineError, match=r"draws wrong .*, so it was thrown away"):
        open_engine(tiny_model, engine="tensorrt")
    tensorrt.spoilt = 0
    open_engine(tiny_model).close()
    assert len(builds) == 2


def test_weights_altered_behind_a_sidecar_that_was_remade_are_found_out(
    tmp_path, builds, tiny_pair, make_batch, expected_drawing, caplog
):
    open_engine(tiny_pair).close()
    (path,) = (tmp_path / "cache").glob("engines/*/*.engine")
    model = onnx.load_from_string(opened(path.read_bytes())[1])
    (quarter,) = (tensor for tensor in model.graph.initializer if tensor.name == "quarter")
    quarter.CopyFrom(onnx.numpy_helper.from_array(np.array([0.26], np.float32), "quarter"))
    path.write_bytes(plan(model.SerializeToString(), ("8.9",)))
    write_sidecar(path, dataclasses.replace(read_sidecar(path), engine_sha256=sha256(path)))
    caplog.clear()
    engine = open_engine(tiny_pair)
    batch = make_batch(2)
    assert (engine.draw(batch) == expected_drawing(batch)).all()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"drawing with openvino on cpu: {path} draws wrong (")
    assert record.getMessage().endswith(", so it was thrown away; see: apdraw doctor")
    assert not path.exists()


def test_an_engine_of_the_user_s_own_is_tried_too(tmp_path, tensorrt, tiny_model, caplog, gpu):
    path = write_engine(tmp_path / "own.engine", tiny_model)
    open_engine(path).close()
    assert read_sidecar(path).options["trial"].startswith("on cuda:0: 0.000")
    tensorrt.spoilt = 1
    with pytest.raises(EngineError, match=r"own.engine draws wrong \(1.000 grey .*; rebuild with: apdraw build-engine"):
        open_engine(path)
    assert path.exists()
    assert gpu.leaked() == []
    assert caplog.records == []
    for content, why in ((b"PK", "it is damaged"), (None, "there is none")):
        reference_path(path).unlink() if content is None else reference_path(path).write_bytes(content)
        caplog.clear()
        open_engine(path).close()
        (record,) = caplog.records
        assert record.getMessage().endswith(f"untried: own.engine.npz should lie beside it, and {why}")


def test_an_engine_that_lies_where_nothing_can_be_written_is_drawn_with(tmp_path, tensorrt, tiny_model, monkeypatch):
    def refuse(*arguments):
        raise FileWriteError("read-only")

    path = write_engine(tmp_path / "own.engine", tiny_model)
    monkeypatch.setattr(trial, "write_sidecar", refuse)
    open_engine(path).close()


def test_the_twin_in_half_precision_is_built_from(builds, tiny_pair, write_model, tiny_metadata, caplog):
    def twin(**changes):
        return write_model("tiny.fp16.onnx", metadata=tiny_metadata | {"precision": "fp16"} | changes)

    twin()
    for precision in ("auto", "fp16", "fp32"):
        engine = open_engine(tiny_pair, precision=precision)
        assert (engine.name, engine.precision) == ("tensorrt", precision.replace("auto", "fp16"))
    assert len(builds) == 2
    assert "building an engine of tiny.fp16.onnx in fp16" in caplog.text
    other = twin(generator_sha256="cd" * 32)
    assert open_engine(tiny_pair).precision == "fp32"
    assert f"drawing in fp32: {other} was not made of the same weights; export it again" in caplog.text
    with pytest.raises(
        EngineError, match=r"in fp16: .* was not made of the same weights; make one with: apdraw export"
    ):
        open_engine(tiny_pair, engine="tensorrt", precision="fp16")


def test_half_precision_is_built_from_a_half_graph_only(builds, tiny_model, write_model, caplog):
    with pytest.raises(EngineError, match=r"apdraw export MODEL.safetensors \S*tiny.fp16.onnx --precision fp16"):
        open_engine(tiny_model, engine="tensorrt", precision="fp16")
    assert builds == []
    half = write_model("half.onnx", metadata={"format": "apdraw-generator", "format_version": "1", "precision": "fp16"})
    for precision in ("auto", "fp16"):
        open_engine(half, engine="tensorrt", precision=precision)
    assert len(builds) == 1
    assert "--precision fp16" not in caplog.text


@pytest.mark.parametrize("damage", ["engine", "sidecar", "empty"])
def test_what_is_damaged_in_the_cache_is_built_again(tmp_path, builds, tiny_model, damage):
    open_engine(tiny_model).close()
    (engine,) = (tmp_path / "cache").glob("engines/*/*.engine")
    if damage == "engine":
        engine.write_bytes(engine.read_bytes()[:-1])
    else:
        sidecar_path(engine).unlink()
    if damage == "empty":
        engine.unlink()
    assert open_engine(tiny_model).name == "tensorrt"
    assert len(builds) == 2
    assert kept(tmp_path) == ["tiny.engine", "tiny.engine.json", "tiny.engine.npz"]


def test_two_processes_that_build_at_once_end_with_one_engine(monkeypatch, tmp_path, builds, tiny_model):
    both = threading.Barrier(2)
    write = build.build_engine

    def build_engine(onnx, out, options, **rest):
        both.wait(30)
        return write(onnx, out, options)

    monkeypatch.setattr(build, "build_engine", build_engine)
    found = []
    info = read_metadata(tiny_model)

    def first_use():
        found.append(cache.engine_file_for(tiny_model, info, "cuda:0", GPUS[0], None))

    threads = [threading.Thread(target=first_use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(builds) == 2
    assert len({*found}) == 1
    assert kept(tmp_path) == ["tiny.engine", "tiny.engine.json", "tiny.engine.npz"]
    assert len([*(tmp_path / "cache" / "engines").iterdir()]) == 1
    open_engine(tiny_model).close()
    assert len(builds) == 2


@pytest.mark.parametrize("error", [EngineError("no builder"), ModelFileError("node X is not supported")])
def test_auto_says_when_a_build_failed_and_goes_on(monkeypatch, tmp_path, tensorrt, tiny_pair, error, caplog):
    def build_engine(*arguments, **options):
        raise error

    monkeypatch.setattr(build, "build_engine", build_engine)
    with caplog.at_level(logging.WARNING):
        engine = open_engine(tiny_pair)
    assert engine.device == "cpu"
    assert [record.getMessage() for record in caplog.records][1:] == [f"drawing with openvino on cpu: {error}"]
    assert kept(tmp_path) == []
    with pytest.raises(EngineError, match=str(error)):
        open_engine(tiny_pair, engine="tensorrt")


def test_auto_takes_the_next_gpu_engine_first(monkeypatch, tensorrt, tiny_pair, load_tiny, caplog):
    tried = []

    def refuse(backend):
        def open_one(request):
            tried.append((backend.name, request.device))
            raise EngineError(f"no {backend.name} here")

        return dataclasses.replace(backend, open=open_one)

    others = tuple(each if each.name == "tensorrt" else refuse(each) for each in backends())
    monkeypatch.setattr(select, "backends", lambda: others)
    monkeypatch.setattr(select, "_check_status", lambda status, device: None)
    tensorrt.fail["execute_async_v3"] = (False, "it broke")
    monkeypatch.setattr(build, "build_engine", lambda onnx, out, *rest, **options: write_engine(out, onnx))
    message = ""
    try:
        open_engine(tiny_pair, load_module=load_tiny)
    except EngineError as error:
        message = str(error)
    assert "it cannot draw: it broke" in message
    assert tried == [
        ("onnxruntime", "cuda:0"),
        ("torch", "cuda:0"),
        ("openvino", "cpu"),
        ("onnxruntime", "cpu"),
        ("torch", "cpu"),
    ]


def test_a_gpu_whose_driver_is_too_old_is_told(gpu, builds, tiny_pair, caplog):
    gpu.fail["cudaGetDeviceCount"] = cudaError_t.cudaErrorInsufficientDriver
    with caplog.at_level(logging.WARNING):
        assert open_engine(tiny_pair).device == "cpu"
    assert "cannot draw with tensorrt on cuda:0: cudaGetDeviceCount failed" in caplog.text
    assert "update the NVIDIA driver" in caplog.text
    assert "text of cudaErrorInsufficientDriver" in caplog.text
    assert builds == []


def test_a_cache_that_cannot_be_written_is_told(monkeypatch, tmp_path, builds, tiny_model):
    (tmp_path / "file").touch()
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"cannot keep engines in .*; name another folder in APDRAW_CACHE"):
        open_engine(tiny_model, engine="tensorrt")
    assert builds == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep caches elsewhere")
def test_the_folder_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("APDRAW_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "apdraw" / "engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "apdraw" / "engines"
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path / "mine"))
    assert cache.cache_folder() == tmp_path / "mine" / "engines"


@pytest.mark.parametrize(
    ("device", "devices"),
    [("auto", "cuda:0"), ("cuda", "cuda:0,cuda:1"), ("cuda:1", "cuda:1"), ("cuda:1,cuda:0,cuda:1", "cuda:1,cuda:0")],
)
def test_each_gpu_asked_for_gets_an_engine(
    builds, gpu, tiny_model, make_batch, expected_drawing, device, devices, caplog
):
    engine = open_engine(tiny_model, device=device, batch_size=2)
    assert engine.device == devices
    assert len(builds) == len(devices.split(","))
    batches = [make_batch(3, seed) for seed in range(4)]
    for batch in batches:
        assert (engine.draw(batch) == expected_drawing(batch)).all()
    engine.close()
    assert gpu.leaked() == []


def test_what_was_opened_is_closed_if_another_gpu_fails(monkeypatch, gpu, builds, tiny_model):
    real = cache.engine_file_for

    def engine_file_for(onnx, info, device, *rest):
        if device == "cuda:1":
            raise EngineError("the second is lost")
        return real(onnx, info, device, *rest)

    monkeypatch.setattr(cache, "engine_file_for", engine_file_for)
    with pytest.raises(EngineError, match="the second is lost"):
        open_engine(tiny_model, engine="tensorrt", device="cuda")
    assert gpu.leaked() == []


def test_an_engine_file_is_drawn_by_tensorrt_only(tmp_path, tensorrt, tiny_model, make_batch, expected_drawing):
    path = write_engine(tmp_path / "a.engine", tiny_model)
    batch = make_batch(2)
    for engine in ("auto", "tensorrt"):
        opened = open_engine(path, engine=engine)
        assert opened.name == "tensorrt"
        assert (opened.draw(batch) == expected_drawing(batch)).all()
    for engine in ("openvino", "onnxruntime", "torch"):
        with pytest.raises(EngineError, match=f"{engine} cannot draw .*a.engine: only tensorrt draws it"):
            open_engine(path, engine=engine)
    with pytest.raises(EngineError, match=r"capability 8\.9, and the one here has 7.5"):
        open_engine(path, device="cuda:1")
    assert tensorrt.deserialised == 2


def test_a_damaged_engine_file_is_never_replaced_by_something_else(tmp_path, tensorrt, tiny_pair):
    path = write_engine(tiny_pair.with_suffix(".engine"), tiny_pair, engine_sha256="0" * 64)
    with pytest.raises(ModelFileError, match="damaged"):
        open_engine(path)
    assert tensorrt.deserialised == 0


def test_an_engine_file_without_a_gpu_says_what_is_missing(monkeypatch, tmp_path, tensorrt, tiny_model):
    monkeypatch.setattr(select, "find_gpus", lambda: ())
    path = write_engine(tmp_path / "a.engine", tiny_model)
    for engine in ("auto", "tensorrt"):
        with pytest.raises(EngineError, match="NVIDIA driver shows no GPU"):
            open_engine(path, engine=engine)
    assert tensorrt.deserialised == 0


@pytest.mark.parametrize(
    ("hidden", "reason", "remedy"),
    [
        ((), None, None),
        (
            ("tensorrt",),
            "tensorrt_rtx is not installed",
            pip_install("tensorrt-rtx"),
        ),
        (("cuda.bindings.runtime",), "cuda-bindings is not installed", "python -m pip install cuda-bindings"),
    ],
)
def test_the_survey_tells_what_tensorrt_lacks(monkeypatch, tensorrt, hidden, reason, remedy):
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)
    (status,) = (status for status in survey() if status.name == "tensorrt")
    assert (status.reason, status.remedy, status.picked) == (reason, remedy, not hidden)
    assert status.devices == (() if hidden else ("cuda:0", "cuda:1"))


L4, T4, H100, B200, RTX_3060 = (
    Gpu("NVIDIA L4", "8.9"),
    Gpu("NVIDIA T4", "7.5"),
    Gpu("NVIDIA H100 80GB HBM3", "9.0"),
    Gpu("NVIDIA B200", "10.0"),
    Gpu("NVIDIA GeForce RTX 3060", "8.6"),
)


@pytest.mark.parametrize(
    ("gpus", "installed", "devices", "to_install"),
    [
        ((RTX_3060,), (), (), "tensorrt-rtx"),
        ((T4,), ("tensorrt-rtx",), ("cuda:0",), None),
        ((H100,), (), (), "tensorrt"),
        ((H100,), ("tensorrt-rtx",), (), "tensorrt"),
        ((B200,), ("tensorrt-rtx",), (), "tensorrt"),
        ((H100,), ("tensorrt",), ("cuda:0",), None),
        ((L4, H100), ("tensorrt-rtx",), ("cuda:0",), "tensorrt"),
        ((L4, H100), ("tensorrt", "tensorrt-rtx"), ("cuda:0", "cuda:1"), None),
    ],
)
def test_each_gpu_wants_the_flavor_that_builds_for_it(monkeypatch, gpus, installed, devices, to_install):
    cuda = FakeCuda(capabilities=[gpu.compute_capability for gpu in gpus])
    install(monkeypatch, cuda, FakeTensorRT(cuda))
    for flavor, module in library.MODULES.items():
        there = FakeTensorRT(cuda, flavor).module() if flavor in installed else None
        monkeypatch.setitem(sys.modules, module, there)
    status = backend.status(gpus)
    assert (status.devices, status.runs_here) == (devices, bool(devices))
    wanted = None if to_install is None else pip_install(to_install)
    assert status.remedy == wanted
    assert {part.remedy for part in backend.parts(gpus) if part.remedy} == ({wanted} if wanted else set())


def test_a_gpu_that_tensorrt_for_rtx_does_not_know_is_drawn_without_it(monkeypatch, tmp_path, tiny_pair, caplog):
    cuda = FakeCuda(capabilities=["9.0"])
    install(monkeypatch, cuda, FakeTensorRT(cuda, "tensorrt-rtx"))
    monkeypatch.setattr(select, "find_gpus", lambda: (H100,))
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING):
        assert open_engine(tiny_pair).device == "cpu"
    (record,) = caplog.records  # no build is announced that could only fail
    assert "tensorrt_rtx does not build for NVIDIA H100 80GB HBM3" in record.getMessage()
    assert record.getMessage().endswith(f"install it with: {pip_install('tensorrt')}")
    assert "--flavor" not in caplog.text


def test_the_kinds_that_tensorrt_for_rtx_builds_for_are_its_own():
    real = pytest.importorskip("tensorrt_rtx")
    kinds = {name[2:] for name in real.ComputeCapability.__members__ if name.startswith("SM")}
    assert {kind.replace(".", "") for kind in library.RTX_CAPABILITIES} == kinds


def test_the_sidecar_of_a_kept_engine_names_its_model(tmp_path, builds, tiny_model):
    open_engine(tiny_model).close()
    (path,) = (tmp_path / "cache").glob("engines/*/*.json")
    assert json.loads(path.read_text())["batch_size"] == 3
    assert path.parent.stat().st_mode & 0o077 == 0 or sys.platform == "win32"
