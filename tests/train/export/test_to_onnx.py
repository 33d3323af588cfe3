import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from generators import timid_generator

from engines.errors import ModelError
from engines.model_info import read_metadata
from engines.portrait import PortraitBatch
from engines.signal_stack import signal_stack_kept
from engines.synthetic import synthetic_portraits
from train.export import to_onnx as export_module
from train.export.half import difference_in_bf16
from train.export.to_onnx import export_onnx, verify
from train.model_file import weights_sha256
from train.networks.graph import DrawingGraph
from train.samples import sample_portraits

ABOUT = {"name": "tiny", "licence": "CC0-1.0"}


@pytest.fixture
def exported(request, generators):
    """A generator and its ONNX file: with photo statistics, or with running ones and its weights in half."""
    found = generators.exported(*{"photo": ("photo",), "half": ("running", "half weights")}[request.param])
    return found.generator, found.path


every_kind = pytest.mark.parametrize("exported", ["photo", "half"], indirect=True)
photo = pytest.mark.parametrize("exported", ["photo"], indirect=True)
half = pytest.mark.parametrize("exported", ["half"], indirect=True)


def drawn_by_torch(generator, portraits):
    with torch.inference_mode():
        return DrawingGraph(generator)(*(torch.from_numpy(a) for a in portraits.inputs().values())).numpy()


def onnxruntime_of(path):
    """Draws portraits with a file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda portraits: session.run(["drawing"], portraits.inputs())[0]


def openvino_of(path):
    with signal_stack_kept():
        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda portraits: model(portraits.inputs())["drawing"]


def assert_same_greys(found, wanted):
    assert found.dtype == np.uint8
    assert found.shape == wanted.shape
    assert np.abs(found.astype(np.int16) - wanted).max() <= 1


@every_kind
def test_torch_onnxruntime_and_openvino_draw_the_same(exported):
    generator, path = exported
    portraits = synthetic_portraits(3, seed=1)
    wanted = drawn_by_torch(generator, portraits)
    assert min(drawing.std() for drawing in wanted) > 5
    for draw in (onnxruntime_of(path), openvino_of(path)):
        for count in (1, 3):
            some = PortraitBatch(portraits.photo[:count], portraits.landmarks[:count], portraits.mask[:count])
            assert_same_greys(draw(some), wanted[:count])


@half
def test_boxes_that_leave_the_picture_are_drawn_too(exported):
    generator, path = exported
    portraits = synthetic_portraits(2)
    portraits.landmarks[:] = [[-20, -3.5], [530, 20], [256, 511], [0, 500], [-7, 511]]
    wanted = drawn_by_torch(generator, portraits)
    assert_same_greys(onnxruntime_of(path)(portraits), wanted)
    assert_same_greys(openvino_of(path)(portraits), wanted)


@every_kind
def test_the_file_stands_alone_and_describes_itself(exported):
    generator, path = exported
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    onnx.checker.check_model(path, full_check=True)
    info = read_metadata(path)
    assert (info.name, info.licence, info.precision) == ("small", "CC0-1.0", "fp32")
    assert info.norm_statistics == generator.config.norm_statistics
    assert info.config == generator.config.to_json()
    assert info.generator_sha256 == weights_sha256(generator.state_dict())
    metadata = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert metadata["width"] == str(generator.config.width)
    assert metadata["input_size"] == "512"


@photo
def test_the_file_names_nothing_of_this_machine(exported):
    content = exported[1].read_bytes()
    for trace in (b"stack_trace", b".py", b"/networks", b"class_hierarchy"):
        assert trace not in content


@half
def test_half_weights_halve_the_file_and_compute_in_single(exported):
    generator, path = exported
    convolutions = sum(value.numel() for value in generator.state_dict().values() if value.dim() == 4)
    assert path.stat().st_size < 0.7 * 4 * convolutions
    graph = onnx.load(path).graph
    halves = {w.name for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.input and node.input[0] in halves]
    assert len(casts) == len(halves) > 20
    assert all(node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT for node in casts)


@photo
def test_verify_notices_another_model(exported, lively_generator):
    _, path = exported
    other = DrawingGraph(lively_generator(statistics="photo", seed=1))
    with pytest.raises(ModelError, match="grey levels"):
        verify(other, path.read_bytes())


def test_nothing_is_written_if_the_graph_draws_something_else(tmp_path, monkeypatch, exported_model, lively_generator):
    monkeypatch.setattr(export_module, "_traced", lambda graph: exported_model)
    with pytest.raises(ModelError, match="nothing was written"):
        export_onnx(lively_generator(statistics="running", seed=1), tmp_path / "model.onnx", ABOUT)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def exported_model():
    """A well-formed graph that draws every portrait white."""
    helper, tensor = onnx.helper, onnx.TensorProto
    ports = [
        helper.make_tensor_value_info("photo", tensor.UINT8, ["batch", 512, 512, 3]),
        helper.make_tensor_value_info("landmarks", tensor.FLOAT, ["batch", 5, 2]),
        helper.make_tensor_value_info("mask", tensor.UINT8, ["batch", 512, 512]),
    ]
    white = helper.make_node("Max", ["mask", "white"], ["drawing"])
    drawing = helper.make_tensor_value_info("drawing", tensor.UINT8, ["batch", 512, 512])
    constant = onnx.numpy_helper.from_array(np.array([255], np.uint8), "white")
    graph = helper.make_graph([white], "white", ports, [drawing], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_synthetic_portraits_differ_and_repeat():
    portraits = synthetic_portraits(3)
    assert portraits.photo.dtype == portraits.mask.dtype == np.uint8
    assert portraits.landmarks.dtype == np.float32
    assert all(0.1 < (mask == 255).mean() < 0.9 for mask in portraits.mask)
    assert len({photo.tobytes() for photo in portraits.photo}) == 3
    assert np.array_equal(synthetic_portraits(3).photo, portraits.photo)
    assert not np.array_equal(synthetic_portraits(3, seed=1).photo, portraits.photo)


@pytest.fixture
def half_graph(generators):
    """A generator with fresh weights, its ONNX file in half precision, and what that tells of itself."""
    found = generators.exported("photo", "fp16", "timid")
    return found.generator, found.path, found.told


def test_a_graph_in_half_precision_says_so(half_graph):
    generator, path, written = half_graph
    info = read_metadata(path)
    assert (info.precision, info.precisions) == ("fp16", ("fp32", "fp16"))
    assert info.generator_sha256 == weights_sha256(generator.state_dict())
    assert written["half_networks"].split()[0] == "whole"
    assert written["half_networks"].split()[-1] == "fusion"
    assert written["half_difference"].endswith("on average")
    onnx.checker.check_model(path, full_check=True)


def test_half_precision_is_in_the_convolutions_and_bytes_stay_bytes(half_graph):
    graph = onnx.shape_inference.infer_shapes(onnx.load(half_graph[1])).graph
    ports = {port.name: port.type.tensor_type for port in (*graph.input, *graph.output, *graph.value_info)}
    kinds = {name: onnx.TensorProto.DataType.Name(port.elem_type) for name, port in ports.items()}
    for name, kind in (("photo", "UINT8"), ("landmarks", "FLOAT"), ("mask", "UINT8"), ("drawing", "UINT8")):
        assert kinds[name] == kind
        assert ports[name].shape.dim[0].dim_value == 0  # any batch size
    results = [kinds[node.output[0]] for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]
    assert (results.count("FLOAT16"), results.count("FLOAT")) == (54, 8)
    for operator in ("ReduceMean", "ReduceSum", "Tanh"):  # sums over many pixels, and what makes grey levels
        nodes = [node for node in graph.node if node.op_type == operator]
        assert {kinds[node.output[0]] for node in nodes} <= {"FLOAT"}
    operators = {node.op_type for node in graph.node}
    assert "Tanh" in operators
    assert "MatMul" not in operators  # crops are gathered, which TensorRT builds for every GPU
    assert not any("FLOAT16" in kinds[name] for node in graph.node if node.op_type == "Tanh" for name in node.input)


def test_half_precision_is_drawn_like_single(half_graph):
    generator, path, _ = half_graph
    portraits = synthetic_portraits(3, seed=2)
    assert np.abs(onnxruntime_of(path)(portraits).astype(int) - drawn_by_torch(generator, portraits)).max() <= 2


def test_a_generator_that_overflows_is_not_exported_in_half(tmp_path):
    generator = timid_generator()
    with torch.no_grad():
        generator.whole.down[1].conv.weight.mul_(1e9)
    with pytest.raises(ModelError, match=r"cannot export tiny in fp16: .* overflow half precision in whole\.down\.1"):
        export_onnx(generator, tmp_path / "model.onnx", ABOUT, precision="fp16")
    assert list(tmp_path.iterdir()) == []


def test_precisions_that_the_model_file_tells_are_kept(tmp_path, monkeypatch, generators, half_graph):
    generator, _, _ = half_graph
    generators.patch(monkeypatch)
    monkeypatch.setattr(export_module, "_traced", lambda graph: onnx.load(half_graph[1]))
    path = tmp_path / "model.onnx"
    export_onnx(generator, path, ABOUT | {"precisions": "bf16"}, precision="fp16")
    assert read_metadata(path).precisions == ("fp32", "fp16", "bf16")


@photo
def test_the_file_tells_whether_it_draws_the_same_in_bf16(exported, generators, tmp_path, monkeypatch):
    generator, path = exported
    difference = difference_in_bf16(generator, sample_portraits())
    assert 0 < difference < 5
    metadata = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert metadata["bf16_difference"] == f"{difference:.3f} on average"
    generators.patch(monkeypatch)
    # Both were done when the fixture's file was written.
    monkeypatch.setattr(export_module, "difference_in_bf16", lambda generator, portraits: difference)
    monkeypatch.setattr(export_module, "verify", lambda graph, model, tolerance: None)
    for limit, precisions in ((2 * difference, ("fp32", "bf16")), (difference / 2, ("fp32",))):
        monkeypatch.setattr(export_module, "BF16_DIFFERENCE", limit)
        export_onnx(generator, tmp_path / "model.onnx", ABOUT | {"precisions": "bf16"})
        assert read_metadata(tmp_path / "model.onnx").precisions == precisions
