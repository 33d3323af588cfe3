"""`apdraw build-engine`: what is built, printed, refused, and tried where a GPU is."""

import json
import os
import signal
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from apdraw_cli import app
from apdraw_cli.commands import build_engine as command
from apdraw_cli.commands.build_engine import CALLS, build
from engines.errors import EngineError, UnfitError, UsageError
from engines.options import BuildOptions
from engines.synthetic import synthetic_portraits
from engines.tensorrt import build as engines_build
from engines.tensorrt import engine as tensorrt_engine
from engines.tensorrt import trial
from engines.tensorrt.cuda import Gpu
from engines.tensorrt.sidecar import read_sidecar, sidecar_path
from engines.tensorrt.trial import write_reference

RTX = ("--flavor", "tensorrt-rtx", "--compute-capability")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    show(monkeypatch)


def show(monkeypatch, *gpus):
    for module in (command, engines_build):
        monkeypatch.setattr(module, "find_gpus", lambda: gpus)


def apdraw(*arguments):
    return CliRunner(env={"COLUMNS": "110"}).invoke(app.app, [*map(str, arguments)], prog_name="apdraw")


@pytest.fixture
def model(tmp_path):
    """A graph with a generator's inputs and output that draws the photo's green, a convolution in half included."""
    nodes = [
        helper.make_node("Cast", ["photo"], ["colours"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["colours"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "green"], ["grey"]),
        helper.make_node("Squeeze", ["grey", "channel"], ["levels"]),
        helper.make_node("Cast", ["mask"], ["mask_levels"], to=TensorProto.FLOAT16),
        helper.make_node("ReduceMax", ["landmarks", "features"], ["far"], keepdims=1),
        helper.make_node("Cast", ["far"], ["far_half"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["far_half", "nothing"], ["no_landmarks"]),
        helper.make_node("Mul", ["mask_levels", "nothing"], ["no_mask"]),
        helper.make_node("Add", ["no_mask", "no_landmarks"], ["none"]),
        helper.make_node("Add", ["levels", "none"], ["drawn"]),
        helper.make_node("Cast", ["drawn"], ["drawing"], to=TensorProto.UINT8),
    ]
    constants = [
        helper.make_tensor("green", TensorProto.FLOAT16, [1, 3, 1, 1], np.array([0, 1, 0], np.float16)),
        helper.make_tensor("channel", TensorProto.INT64, [1], [1]),
        helper.make_tensor("features", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("nothing", TensorProto.FLOAT16, [1], np.zeros(1, np.float16)),
    ]
    inputs = [
        helper.make_tensor_value_info("photo", TensorProto.UINT8, ["batch", 512, 512, 3]),
        helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, ["batch", 5, 2]),
        helper.make_tensor_value_info("mask", TensorProto.UINT8, ["batch", 512, 512]),
    ]
    drawing = helper.make_tensor_value_info("drawing", TensorProto.UINT8, ["batch", 512, 512])
    proto = helper.make_model(
        helper.make_graph(nodes, "green", inputs, [drawing], constants),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    helper.set_model_props(proto, {"format": "apdraw-generator", "format_version": "1", "precision": "fp16"})
    path = tmp_path / "green.onnx"
    onnx.save(proto, path)
    return path


def test_what_was_built_is_told(model, tmp_path):
    rtx = pytest.importorskip("tensorrt_rtx")
    engine = tmp_path / "green.engine"
    result = apdraw("build-engine", model, engine, *RTX, "8.6,8.9", "--compute-capability", "12.0", "--batch-size", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    for line in (
        "green.engine.json beside it has to stay with it",
        f"tensorrt-rtx {rtx.__version__} on linux-x86_64, GPUs of 8.6, 8.9, 12.0",
        "batches of 1 to 3",
        "convolutions: 1 in half precision, 0 in single",
        "not tried: there is no GPU here",
    ):
        assert line in result.stdout
    assert read_sidecar(engine).compute_capabilities == ("8.6", "8.9", "12.0")


def test_json_tells_all_of_it(model, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    engine = tmp_path / "green.engine"
    result = apdraw("build-engine", model, engine, *RTX, "8.9", "--workspace", "300", "--json")
    told = json.loads(result.stdout)
    assert told["engine"] == str(engine)
    assert told["size"] == engine.stat().st_size
    assert told["sidecar"] == json.loads(sidecar_path(engine).read_text())
    assert told["sidecar"]["options"] == {"workspace_mib": "300"}
    assert told["trial"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("green.onnx", "green.plan"), 2, "must end in .engine"),
        (("green.pt", "green.engine"), 2, "an .onnx or a .safetensors file"),
        (("green.onnx", "green.engine", *RTX, "ada"), 2, "'ada' is no compute capability"),
        (("green.onnx", "green.engine", "--batch-size", "0"), 2, "--batch-size"),
        (("green.onnx", "green.engine", "--optimization-level", "9"), 2, "--optimization-level"),
        (("green.onnx", "green.engine", "--flavor", "tensorrt"), 3, "shows none here"),
        (("green.onnx", "green.engine", *RTX, "8.9", "--precision", "fp32"), 3, "apdraw export MODEL.safetensors"),
        (("none.onnx", "green.engine", *RTX, "8.9"), 3, "there is no model"),
        (("none.safetensors", "green.engine", *RTX, "8.9"), 3, "there is no model"),
        (("green.onnx", "none/green.engine", *RTX, "8.9"), 3, "cannot write"),
    ],
)
def test_what_cannot_be_is_one_line(model, monkeypatch, arguments, code, words):
    monkeypatch.chdir(model.parent)
    result = CliRunner(env={"COLUMNS": "110"}).invoke(
        app.app, ["build-engine", *arguments], prog_name="apdraw", standalone_mode=False
    )
    shown = result.stderr
    if result.exception is not None and not isinstance(
        result.exception, SystemExit
    ):  # of wrong usage: `main` prints it
        shown = result.exception.format_message()
        assert code == 2
    else:
        assert result.exit_code == code or result.return_value == code
        assert len(shown.splitlines()) == 1
    assert words in shown
    assert {file.name for file in model.parent.iterdir()} == {"green.onnx"}


def test_ctrl_c_is_130_and_nothing_is_written(model, monkeypatch):
    pytest.importorskip("tensorrt_rtx")
    compile_graph = engines_build.compile_graph

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return compile_graph(*arguments)

    monkeypatch.setattr(engines_build, "compile_graph", interrupted)
    monkeypatch.setattr("sys.argv", ["apdraw", "build-engine", str(model), str(model.parent / "x.engine"), *RTX, "8.9"])
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == 130
    assert {file.name for file in model.parent.iterdir()} == {"green.onnx"}


@pytest.fixture
def written(monkeypatch):
    """Builds are made up: what was exported on the way, built with which options, and noted of the trial."""
    calls = []

    def export(model, out, options):
        calls.append(("export", model, options.precision))
        out.write_bytes(b"")

    def build_made_up(onnx, out, options, progress):
        calls.append(("build", onnx.name, options))
        out.write_bytes(b"plan")
        if out.stem == "green":
            write_reference(out, synthetic_portraits(2).photo[..., 1])
        return SIDECAR

    monkeypatch.setattr(command, "export", export)
    monkeypatch.setattr(command, "build_engine", build_made_up)
    monkeypatch.setattr(trial, "read_sidecar", lambda engine_file: SIDECAR)
    monkeypatch.setattr(trial, "write_sidecar", lambda engine_file, sidecar: calls.append(("noted", sidecar.options)))
    return calls


@dataclass(frozen=True)
class MadeUpSidecar:
    compute_capabilities: tuple[str, ...] = ("8.9",)
    options: dict[str, str] = field(default_factory=dict)


SIDECAR = MadeUpSidecar()


@pytest.mark.parametrize(("asked", "exported"), [(None, "fp16"), ("fp16", "fp16"), ("fp32", "fp32")])
def test_safetensors_are_exported_on_the_way(written, tmp_path, asked, exported):
    options = BuildOptions(precision=asked)
    result = build(tmp_path / "face.safetensors", tmp_path / "face.engine", options)
    assert written == [("export", tmp_path / "face.safetensors", exported), ("build", "face.onnx", options)]
    assert result.size == 4
    assert [file.name for file in tmp_path.iterdir()] == ["face.engine"]


def test_wrong_suffixes_are_wrong_usage(written, tmp_path):
    with pytest.raises(UsageError):
        build(tmp_path / "face.engine", tmp_path / "other.engine", BuildOptions())
    with pytest.raises(UsageError):
        build(tmp_path / "face.onnx", tmp_path / "face.onnx", BuildOptions())
    assert written == []


class Green:
    """Draws as the made-up graph, but light pixels, in a quarter of the page, a level darker."""

    batch_size = 4
    darker = 1
    light = 200

    def __init__(self, engine, *, device):
        self.device = device
        self.sizes = []
        self.closed = False
        Green.last = self

    def draw(self, batch):
        self.sizes.append(len(batch))
        drawing = batch.photo[..., 1].copy()
        quarter = drawing[:, ::2, ::2]
        quarter[quarter >= self.light] -= self.darker
        return drawing

    def close(self):
        self.closed = True


def test_where_a_gpu_is_the_engine_is_tried(written, model, monkeypatch):
    show(monkeypatch, Gpu("NVIDIA L4", "8.9"))
    monkeypatch.setattr(tensorrt_engine, "TensorRTEngine", Green)
    trial = build(model, model.with_suffix(".engine"), BuildOptions()).trial
    assert (trial.device, trial.largest_difference) == ("cuda:0", 1)
    assert 0 < trial.mean_difference <= 0.25
    assert [latency.batch_size for latency in trial.latencies] == [1, 4]
    assert all(0 < latency.p50 <= latency.p90 <= latency.p99 for latency in trial.latencies)
    assert Green.last.sizes == [2, 2, *[1] * (CALLS + 1), *[4] * (CALLS + 1)]
    assert Green.last.closed


def test_an_engine_that_draws_wrong_is_removed(written, model, monkeypatch):
    show(monkeypatch, Gpu("NVIDIA L4", "8.9"))
    monkeypatch.setattr(tensorrt_engine, "TensorRTEngine", Green)
    monkeypatch.setattr(Green, "darker", 3)
    monkeypatch.setattr(Green, "light", 3)
    with pytest.raises(
        UnfitError, match=r"draws wrong \(0\.7\d\d grey levels .*, so it was removed; try another version"
    ):
        build(model, model.with_suffix(".engine"), BuildOptions())
    assert Green.last.closed
    assert {file.name for file in model.parent.iterdir()} == {"green.onnx"}


def test_a_gpu_of_another_kind_does_not_try_it(written, model, monkeypatch):
    show(monkeypatch, Gpu("NVIDIA T4", "7.5"))
    result = build(model, model.with_suffix(".engine"), BuildOptions())
    assert (result.trial, result.not_tried) == (None, "the GPU here is of compute capability 7.5")


def test_an_engine_that_does_not_draw_is_told(written, model, monkeypatch):
    def fail(engine, *, device):
        raise EngineError("no memory left")

    show(monkeypatch, Gpu("NVIDIA L4", "8.9"))
    monkeypatch.setattr(tensorrt_engine, "TensorRTEngine", fail)
    with pytest.raises(UnfitError, match="no memory left"):
        build(model, model.with_suffix(".engine"), BuildOptions())
