"""Engines built with the real TensorRT for RTX, which needs no GPU for that, and what is told where it cannot."""

import ast
import json
import os
import signal
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest
from fake_cuda import FakeCuda, install
from onnx import TensorProto, helper

from benchmarks.kernels import kernels_of
from engines.errors import EngineError, ModelFileError
from engines.installed import pip_install
from engines.model_info import model_info, read_metadata, sha256
from engines.options import BuildOptions
from engines.select import TWINS, shipped_model
from engines.tensorrt import build, library
from engines.tensorrt import compile as tensorrt_builder
from engines.tensorrt.build import build_engine
from engines.tensorrt.compile import Plan, Settings, compile_graph, count_types
from engines.tensorrt.cuda import Gpu
from engines.tensorrt.library import log_of
from engines.tensorrt.sidecar import check_fits, read_sidecar, sidecar_path, this_platform
from engines.twin_file import whole_file

METADATA = {"format": "apdraw-generator", "format_version": "1"}

ADA = BuildOptions(flavor="tensorrt-rtx", compute_capabilities=("8.9",), batch_size=2)


@pytest.fixture
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(build, "find_gpus", lambda: ())


KINDS = tuple(sorted(library.RTX_CAPABILITIES, key=float))

TURING = ("7.5",)
"""The kind that has the fewest kernels."""

HALF = {("ours", "fp16"): 54, ("shipped", "fp16"): 54, ("authors", "fp16"): 5}
"""Convolutions in half precision, of 62. Of the authors' weights, which are random, only the fusion network can be."""


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def graph(generators):
    """Finds a graph: the one that comes with the program (`ours`), or what `export` makes of weights today."""

    def find(name, precision):
        if name != "ours":
            return generators.exported("photo", precision, name).path
        return shipped_model().with_suffix({"fp32": ".onnx", **TWINS}[precision])

    return find


@pytest.mark.parametrize(
    ("name", "precision", "kinds"),
    [
        ("ours", "fp16", ("7.5", "8.9")),
        slow("lively", "fp32", ("7.5", "8.9")),
        *(slow(name, precision, KINDS) for name in ("shipped", "authors") for precision in ("fp32", "fp16")),
    ],
)
def test_builds_for_gpus_of_several_kinds(name, precision, kinds, graph, rtx, tmp_path):
    """Of our files, of those that `export` writes today, and of models with the authors' architecture."""
    model = whole_file(graph(name, precision), tmp_path / "joined")
    out = tmp_path / "built" / "face.engine"
    out.parent.mkdir()
    options = BuildOptions(compute_capabilities=kinds, batch_size=4, precision=precision)
    steps = []
    sidecar = build_engine(model, out, options, lambda done, total: steps.append((done, total)))
    assert {file.name for file in out.parent.iterdir()} == {"face.engine", "face.engine.json", "face.engine.npz"}
    assert read_sidecar(out) == sidecar
    assert (sidecar.flavor, sidecar.version) == ("tensorrt-rtx", rtx.__version__)
    assert (sidecar.compute_capabilities, sidecar.batch_size) == (kinds, 4)
    assert sidecar.precision == precision
    assert (sidecar.onnx_sha256, sidecar.engine_sha256) == (sha256(model), sha256(out))
    assert model_info(sidecar.model) == read_metadata(model)
    half, single = (sidecar.layers.get(f"CONVOLUTION {dtype}", 0) for dtype in ("HALF", "FLOAT"))
    assert half + single == 62
    assert half == HALF.get((name, precision), 0)
    assert steps == sorted(set(steps))
    assert steps[-1] == (100, 100)
    here = {"flavor": "tensorrt-rtx", "version": rtx.__version__, "platform": this_platform()}
    for capability in sidecar.compute_capabilities:
        check_fits(sidecar, out, **here, compute_capability=capability)
    with pytest.raises(EngineError, match="GPUs of compute capability"):
        check_fits(sidecar, out, **here, compute_capability="9.0")


@pytest.mark.parametrize(
    ("name", "precision", "kind"),
    [
        ("ours", "fp16", *TURING),
        *(slow("ours", "fp16", kind) for kind in KINDS if kind not in TURING),
        *(slow("shipped", "fp16", kind) for kind in KINDS),
        *(slow("shipped", "fp32", kind) for kind in KINDS),
        *(slow("authors", precision, kind) for precision in ("fp32", "fp16") for kind in KINDS),
    ],
)
def test_the_kernels_of_an_engine_are_the_few_and_half_ones_that_they_should_be(name, precision, kind, graph, rtx):
    """Counted in the list that TensorRT for RTX itself gives of the finished engine, for each kind of GPU."""
    kernels = kernels_of(graph(name, precision), 16, kind)
    convolutions = [kernel for kernel in kernels if kernel.filters]
    assert len(convolutions) == 62
    assert sum(kernel.is_half for kernel in convolutions) == HALF.get((name, precision), 0)
    assert [kernel.name for kernel in kernels if kernel.kind == "gemm"] == []  # Turing has none in float32
    norms = [kernel.name for kernel in kernels if "Inor" in kernel.name]
    assert (norms == []) == ((name, precision) in (("ours", "fp16"), ("shipped", "fp16")))


class Spied:
    """Another object, whose new profiles are kept."""

    def __init__(self, real):
        self._real = real
        self.profiles = []

    def __getattr__(self, name):
        return getattr(self._real, name)

    def create_optimization_profile(self):
        self.profiles.append(self._real.create_optimization_profile())
        return self.profiles[-1]


def test_there_is_one_profile_of_1_to_n_best_at_n(rtx):
    log = log_of(rtx)
    builder = Spied(rtx.Builder(log))
    settings = Settings(16, ("8.9", "12.0"), workspace_mib=300, optimization_level=1)
    config = tensorrt_builder._configured(rtx, builder, settings, log)
    assert config.num_optimization_profiles == 1
    (profile,) = builder.profiles
    for port in (("photo", 512, 512, 3), ("landmarks", 5, 2), ("mask", 512, 512)):
        shape = [tuple(dims) for dims in profile.get_shape(port[0])]
        assert shape == [(1, *port[1:]), (16, *port[1:]), (16, *port[1:])]
    assert config.get_memory_pool_limit(rtx.MemoryPoolType.WORKSPACE) == 300 << 20
    assert config.builder_optimization_level == 1
    assert not config.get_flag(rtx.BuilderFlag.TF32)
    kinds = [config.get_compute_capability(index) for index in range(config.num_compute_capabilities)]
    assert kinds == [rtx.ComputeCapability.SM89, rtx.ComputeCapability.SM120]


def test_options_are_noted(rtx, tiny_model, tmp_path):
    options = BuildOptions(compute_capabilities=("8.9",), workspace_mib=200, optimization_level=0)
    sidecar = build_engine(tiny_model, tmp_path / "tiny.engine", options)
    assert sidecar.options == {"workspace_mib": "200", "optimization_level": "0"}
    assert sidecar.batch_size == 16


def refused(model, out, options=ADA):
    """What is told of a build that fails; nothing may be left behind."""
    before = {file.name for file in out.parent.iterdir()} if out.parent.is_dir() else None
    with pytest.raises(EngineError) as caught:
        build_engine(model, out, options)
    assert "\n" not in str(caught.value)
    if before is not None:
        assert {file.name for file in out.parent.iterdir()} == before
    return caught.value


@pytest.mark.parametrize(
    ("photo", "found"),
    [
        (("photo", TensorProto.FLOAT, ["batch", 512, 512, 3]), "photo float32 [B, 512, 512, 3]"),
        (("photo", TensorProto.FLOAT16, ["batch", 512, 512, 3]), "photo float16 [B, 512, 512, 3]"),
        (("photo", TensorProto.UINT8, [2, 512, 512, 3]), "photo uint8 [2, 512, 512, 3]"),
    ],
)
def test_a_graph_of_another_type_or_one_batch_size_is_refused(rtx, write_model, tmp_path, photo, found):
    error = refused(write_model(photo=photo), tmp_path / "tiny.engine")
    assert isinstance(error, ModelFileError)
    assert "is not a portrait generator" in str(error)
    assert found in str(error)


def test_without_a_profile_tensorrt_says_that_one_is_missing(rtx, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt_builder, "INPUTS", ())
    assert "profile" in str(refused(tiny_model, tmp_path / "tiny.engine"))


def with_node(model, operator, into, dtype):
    """The tiny graph with one more node, in front of the input `into`."""
    proto = onnx.load(model)
    for node in proto.graph.node:
        node.input[:] = ["changed" if name == into else name for name in node.input]
    proto.graph.node.insert(0, helper.make_node(operator, [into], ["changed"], name=f"the_{operator}"))
    proto.graph.value_info.append(helper.make_tensor_value_info("changed", dtype, None))
    onnx.save(proto, model)
    return model


def test_a_node_that_tensorrt_does_not_know_is_named(rtx, tiny_model, tmp_path):
    model = with_node(tiny_model, "Frobnicate", "landmarks", TensorProto.FLOAT)
    error = refused(model, tmp_path / "tiny.engine")
    assert isinstance(error, ModelFileError)
    assert "the Frobnicate node the_Frobnicate" in str(error)


def test_bytes_can_only_be_cast(rtx, tiny_model, tmp_path):
    error = refused(with_node(tiny_model, "Abs", "mask", TensorProto.UINT8), tmp_path / "tiny.engine")
    assert "the_Abs" in str(error)


def test_a_graph_cut_short_is_refused(rtx, tiny_model, tmp_path):
    content = tiny_model.read_bytes()
    tiny_model.write_bytes(content[: len(content) // 2])
    assert isinstance(refused(tiny_model, tmp_path / "tiny.engine"), ModelFileError)
    # All there, but the graph is none.
    proto = onnx.ModelProto(ir_version=10)
    helper.set_model_props(proto, METADATA)
    proto.graph.node.append(helper.make_node("Abs", ["nowhere"], ["drawing"]))
    tiny_model.write_bytes(proto.SerializeToString())
    assert "cannot read" in str(refused(tiny_model, tmp_path / "tiny.engine"))


def test_a_graph_of_int8_is_refused(write_model, tmp_path):
    model = write_model(metadata=METADATA | {"precision": "int8"})
    assert "export one in fp16" in str(refused(model, tmp_path / "tiny.engine"))


def test_a_graph_without_half_layers_is_no_fp16(rtx, write_model, tmp_path):
    model = write_model(metadata=METADATA | {"precision": "fp16"})
    assert "no convolution in half precision" in str(refused(model, tmp_path / "tiny.engine"))


@pytest.mark.parametrize(("asked", "held"), [("fp16", "fp32"), ("fp32", "fp16")])
def test_a_precision_that_the_graph_does_not_hold_is_told_with_the_remedy(write_model, tmp_path, asked, held):
    model = write_model(metadata=METADATA | {"precision": held})
    error = refused(model, tmp_path / "tiny.engine", BuildOptions(precision=asked))
    assert f"computes in {held}" in str(error)
    assert str(error).endswith(f"apdraw export MODEL.safetensors OUT.onnx --precision {asked}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BuildOptions(flavor="tensorrt"), "the NVIDIA driver shows none here"),
        (BuildOptions(flavor="tensorrt-rtx"), "name its kind with: --compute-capability"),
    ],
)
def test_what_cannot_be_built_here_is_told(rtx, tiny_model, tmp_path, options, words):
    assert words in str(refused(tiny_model, tmp_path / "tiny.engine", options))


def test_kinds_of_gpu_that_tensorrt_for_rtx_does_not_know_are_told(rtx, tiny_model, tmp_path):
    options = BuildOptions(compute_capabilities=("8.9", "9.0"))
    assert "compute capability 9.0, only for 7.5, 8.0," in str(refused(tiny_model, tmp_path / "t.engine", options))


def test_tensorrt_for_rtx_keeps_no_timing_cache(rtx, tiny_model, tmp_path):
    options = BuildOptions(compute_capabilities=("8.9",), timing_cache=tmp_path / "cache")
    assert "leave out --timing-cache" in str(refused(tiny_model, tmp_path / "tiny.engine", options))


@pytest.mark.parametrize("flavor", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_package_is_named_with_the_command(tiny_model, tmp_path, monkeypatch, flavor):
    monkeypatch.setattr(build, "find_gpus", lambda: (Gpu("NVIDIA L4", "8.9"),))
    monkeypatch.setattr(build, "is_installed", lambda asked: asked != flavor)
    error = refused(tiny_model, tmp_path / "tiny.engine", BuildOptions(flavor=flavor))
    assert str(error).endswith(pip_install(flavor))


def test_an_output_that_cannot_be_written_is_told_before_the_build(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "compile_graph", lambda *arguments: pytest.fail("it was built"))
    assert "cannot write" in str(refused(tiny_model, tmp_path / "none" / "tiny.engine"))
    (tmp_path / "folder.engine").mkdir()
    assert "it is a folder" in str(refused(tiny_model, tmp_path / "folder.engine"))


def test_ctrl_c_stops_the_build_and_leaves_what_was_there(rtx, tiny_model, tmp_path, monkeypatch):
    out = tmp_path / "tiny.engine"
    out.write_bytes(b"old")
    asked, ends = threading.Event(), []

    def compile_and_tell(library, onnx, settings, progress, cancelled):
        ends.append((compile_graph(library, onnx, settings, progress, cancelled), cancelled.wait(60)))

    monkeypatch.setattr(build, "compile_graph", compile_and_tell)

    def interrupt(done, total):
        if not asked.is_set():
            asked.set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build_engine(tiny_model, out, ADA, interrupt)
    assert ends[0][1]  # TensorRT was told to stop
    assert out.read_bytes() == b"old"
    assert not sidecar_path(out).exists()


def test_a_cancelled_build_comes_to_nothing(rtx, tiny_model):
    cancelled, told = threading.Event(), []

    def cancel(done, total):
        cancelled.set()
        told.append(done)

    assert compile_graph(rtx, tiny_model, Settings(2, ("8.9",)), cancel, cancelled) is None
    assert len(told) == 1
    monitor = tensorrt_builder._new_monitor(rtx, cancel, cancelled)
    assert monitor.step_complete("any phase", 0) is False
    cancelled.clear()
    assert monitor.step_complete("any phase", 0) is True


def test_the_library_s_warnings_go_to_our_log(rtx, caplog):
    log = log_of(rtx)
    log.log(rtx.ILogger.WARNING, "mind\nthe gap")
    log.log(rtx.ILogger.INFO, "chatter")
    log.log(rtx.ILogger.ERROR, "broken\nhere")
    assert [(record.name.partition(".")[0], record.getMessage()) for record in caplog.records] == [
        ("apdraw", "tensorrt: mind")
    ]
    assert log.take() == ["broken"]
    assert log.take() == []


@pytest.fixture
def l4(monkeypatch):
    """A machine with a GPU and TensorRT, whose builds are made up; returns the settings of each."""
    seen = []

    def compile_made_up(library, onnx, settings, progress, cancelled):
        seen.append(settings)
        return Plan(b"plan", {"CONVOLUTION HALF": 1}, settings.timing_cache and settings.timing_cache + b"+")

    monkeypatch.setattr(build, "find_gpus", lambda: (Gpu("NVIDIA L4", "8.9"),))
    for module in (build, library):
        monkeypatch.setattr(module, "is_installed", lambda flavor: True)
    monkeypatch.setattr(build, "import_library", lambda flavor: types.SimpleNamespace(__version__="11.4"))
    monkeypatch.setattr(build, "compile_graph", compile_made_up)
    monkeypatch.setattr(build, "inspect", lambda library, engine: {"HALF": 3, "FLOAT": 2})
    return seen


def test_tensorrt_builds_for_the_gpu_here(l4, tiny_model, tmp_path):
    out = tmp_path / "tiny.engine"
    sidecar = build_engine(tiny_model, out, BuildOptions())
    assert (sidecar.flavor, sidecar.compute_capabilities) == ("tensorrt", ("8.9",))
    assert l4[0].compute_capabilities == ()
    assert sidecar.layers == {"CONVOLUTION HALF": 1, "engine HALF": 3, "engine FLOAT": 2}
    assert read_sidecar(out) == sidecar
    error = refused(tiny_model, out, BuildOptions(flavor="tensorrt", compute_capabilities=("8.6",)))
    assert "the GPU here alone, of compute capability 8.9, not 8.6" in str(error)


def test_auto_takes_tensorrt_for_rtx_where_only_that_can_build(l4, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_check_known", lambda *arguments: None)
    options = BuildOptions(compute_capabilities=("8.6", "8.9", "8.6"))
    sidecar = build_engine(tiny_model, tmp_path / "tiny.engine", options)
    assert (sidecar.flavor, sidecar.compute_capabilities) == ("tensorrt-rtx", ("8.6", "8.9"))
    assert l4[0].compute_capabilities == ("8.6", "8.9")


def test_the_timing_cache_is_started_read_and_kept(l4, tiny_model, tmp_path):
    cache = tmp_path / "cache"
    options = BuildOptions(timing_cache=cache)
    build_engine(tiny_model, tmp_path / "tiny.engine", options)
    assert l4[0].timing_cache == b""
    cache.write_bytes(b"measured")
    sidecar = build_engine(tiny_model, tmp_path / "tiny.engine", options)
    assert l4[1].timing_cache == b"measured"
    assert cache.read_bytes() == b"measured+"
    assert sidecar.options == {"timing_cache": "cache"}


def test_an_engine_in_which_half_was_lost_is_not_kept(l4, write_model, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "inspect", lambda library, engine: {"FLOAT": 5})
    model = write_model(metadata=METADATA | {"precision": "fp16"})
    assert "without half layers" in str(refused(model, tmp_path / "tiny.engine", BuildOptions()))


def test_an_engine_is_inspected_on_its_gpu_before_anything_is_written(l4, tiny_model, tmp_path, monkeypatch):
    cuda, seen, out = FakeCuda(capabilities=["8.9", "12.0"]), [], tmp_path / "tiny.engine"
    install(monkeypatch, cuda)
    monkeypatch.setattr(build, "find_gpus", lambda: (Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA RTX 5090", "12.0")))

    def inspect(library, content):
        seen.append((content, cuda.current, threading.current_thread().name, [*tmp_path.glob("tiny.engine*")]))
        return {}

    monkeypatch.setattr(build, "inspect", inspect)
    build_engine(tiny_model, out, BuildOptions(device="cuda:1"))
    assert seen == [(b"plan", 1, "build", [])]
    assert cuda.current == 0


def test_a_build_ends_once_it_is_asked_to_from_another_thread(l4, tiny_model, tmp_path, monkeypatch):
    stop = threading.Event()

    def compile_until_told(library, onnx, settings, progress, cancelled):
        stop.set()  # as the handler of Ctrl-C does, in the main thread
        assert cancelled.wait(30)

    monkeypatch.setattr(build, "compile_graph", compile_until_told)
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        pool.submit(build_engine, tiny_model, tmp_path / "tiny.engine", BuildOptions(), stop=stop).result()
    assert not [*tmp_path.glob("tiny.engine*")]


def test_a_new_engine_never_lies_beside_an_old_sidecar(l4, tiny_model, tmp_path, monkeypatch):
    out = tmp_path / "tiny.engine"
    build_engine(tiny_model, out, BuildOptions())

    def fail(*arguments):
        raise EngineError("the disk is full")

    for function in ("write_sidecar", "write_atomically"):
        monkeypatch.setattr(build, function, fail)
        with pytest.raises(EngineError, match="disk is full"):
            build_engine(tiny_model, out, BuildOptions())
        assert out.exists()
        assert not sidecar_path(out).exists()


def test_what_an_inspector_tells_is_counted():
    layers = [
        {"Outputs": [{"Format/Datatype": "Half"}, {"Format/Datatype": "Channel major FP16 format where C % 8 == 0"}]},
        {"Outputs": [{"Format/Datatype": "Row major linear FP32"}, {"Format/Datatype": "Int32"}]},
    ]
    assert count_types(json.dumps({"Layers": layers})) == {"HALF": 2, "FLOAT": 1}
    assert count_types(json.dumps({"Layers": ["a layer's name"]})) == {}
    assert count_types("not JSON") == count_types("[]") == {}


CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "tensor": "ITensor",
    "layer": "ILayer",
    "config": "IBuilderConfig",
    "cache": "ITimingCache",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "loaded": "ICudaEngine",
    "inspector": "EngineInspector",
}
"""What the variables of `engines.tensorrt.compile` are."""

RTX_ONLY = {"ComputeCapability", "num_compute_capabilities", "set_compute_capability"}


def names_used():
    """Class (or none: the library itself) and name of all that is taken from TensorRT's objects."""
    tree = ast.parse(Path(tensorrt_builder.__file__).read_text("utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        parent = node.value
        if isinstance(parent, ast.Name) and parent.id == "library":
            yield None, node.attr
        elif isinstance(parent, ast.Name) and parent.id in CLASSES:
            yield CLASSES[parent.id], node.attr
        elif isinstance(parent, ast.Attribute) and getattr(parent.value, "id", None) == "library":
            yield parent.attr, node.attr
    overridden = [kind for kind in ast.walk(tree) if isinstance(kind, ast.ClassDef) and kind.bases]
    for kind in overridden:
        for method in kind.body:
            if method.name[0] != "_" and method.name != "take":
                yield kind.bases[0].attr, method.name


@pytest.mark.parametrize("flavor", ["trt114", "rtx17"])
def test_only_names_of_the_bindings_are_used(shared, flavor):
    api = json.loads((shared / "tensorrt" / f"api_{flavor}.json").read_text())["api"]
    used = {pair for pair in names_used() if not pair[1].startswith("__")}
    assert {kind for kind, _ in used} >= {*CLASSES.values(), None}
    allowed = RTX_ONLY if flavor == "trt114" else set()
    unknown = {
        (kind, name)
        for kind, name in used
        if name not in allowed
        and name not in (api if kind is None else api[kind].get("members", []) + api[kind].get("enum", []))
    }
    assert unknown == set()
