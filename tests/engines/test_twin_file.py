"""A file that leaves weights out, joined with the one that holds them, is an ordinary ONNX file."""

import json

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import FileWriteError, ModelFileError
from engines.model_info import read_metadata
from engines.select import open_engine
from engines.signal_stack import signal_stack_kept
from engines.twin_file import BORROWED, LENDER, joined, whole_file

WEIGHTS = np.arange(2000, dtype=np.float16).reshape(40, 50)
METADATA = {"format": "apdraw-generator", "format_version": "1"}


def graph(nodes, tensors, metadata):
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 40])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 50])]
    made = helper.make_graph(nodes, "g", ports, outputs, tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, METADATA | metadata)
    return model


@pytest.fixture
def pair(tmp_path):
    """A file with weights, and one that uses them under another name and adds one of its own."""
    lender, twin = tmp_path / "m.onnx", tmp_path / "m.fp16.onnx"
    held = [numpy_helper.from_array(WEIGHTS, "weights.half"), numpy_helper.from_array(WEIGHTS[:2] + 1, "others")]
    onnx.save(graph([helper.make_node("MatMul", ["x", "weights.half"], ["y"])], held, {}), lender)
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["product"]),
        helper.make_node("Add", ["product", "one"], ["y"]),
    ]
    one = [numpy_helper.from_array(np.ones(1, np.float16), "one")]
    about = {LENDER: "m.onnx", BORROWED: json.dumps({"weights": "weights.half"})}
    onnx.save(graph(nodes, one, about), twin)
    return lender, twin


def test_the_whole_of_two_files_is_read_by_every_library(pair, tmp_path):
    lender, twin = pair
    whole = whole_file(twin, tmp_path / "cache")
    assert (whole.name, whole.stat().st_size) != (twin.name, twin.stat().st_size)
    model = onnx.load(whole)
    onnx.checker.check_model(model, full_check=True)
    assert [tensor.name for tensor in model.graph.initializer] == ["one", "weights"]
    assert (numpy_helper.to_array(model.graph.initializer[1]) == WEIGHTS).all()
    assert len(model.graph.node) == 2
    x = np.linspace(0, 0.01, 40, dtype=np.float16)[None]
    wanted = (x.astype(np.float32) @ WEIGHTS.astype(np.float32) + 1)[0]
    session = onnxruntime.InferenceSession(whole)
    assert np.abs(session.run(["y"], {"x": x})[0][0] - wanted).max() < 1
    with signal_stack_kept():
        compiled = openvino.Core().compile_model(whole, "CPU")
    assert np.abs(compiled({"x": x})["y"][0] - wanted).max() < 1
    assert read_metadata(whole).precision == read_metadata(twin).precision
    assert whole_file(twin, tmp_path / "cache") == whole
    assert whole_file(lender, tmp_path / "cache") == lender


def test_files_that_do_not_belong_together_are_refused(pair, tmp_path):
    lender, twin = pair
    with pytest.raises(ValueError, match="there is no tensor none"):
        joined(twin.read_bytes(), lender.read_bytes(), {"weights": "none"})
    onnx.save(graph([], [], {}), lender)
    with pytest.raises(
        ModelFileError, match=r"m.fp16.onnx and m.onnx do not belong together: there is no tensor weights"
    ):
        whole_file(twin, tmp_path / "cache")
    lender.unlink()
    with pytest.raises(ModelFileError, match="what is missing in it"):
        whole_file(twin, tmp_path / "cache")


def test_a_file_of_another_folder_is_never_read(pair, tmp_path):
    """Names in a model's metadata are no paths."""
    lender, twin = pair
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / "m.onnx"
    lender.rename(moved)
    model = onnx.load(twin)
    helper.set_model_props(model, {prop.key: prop.value for prop in model.metadata_props} | {LENDER: "other/m.onnx"})
    onnx.save(model, twin)
    with pytest.raises(ModelFileError, match="No such file"):
        whole_file(twin, tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_told(pair, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileWriteError, match="cannot make"):
        whole_file(pair[1], tmp_path / "file")


def test_a_twin_is_drawn_whole(
    tiny_model, write_model, tiny_metadata, tmp_path, monkeypatch, make_batch, expected_drawing
):
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path / "cache"))
    twin = write_model("twin.onnx", metadata=tiny_metadata | {LENDER: "tiny.onnx", BORROWED: '{"quarter": "quarter"}'})
    model = onnx.load(twin)
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "quarter"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, twin)
    batch = make_batch(2)
    for name in ("openvino", "onnxruntime"):
        engine = open_engine(twin, engine=name, device="cpu", precision="fp32")
        assert (engine.draw(batch) == expected_drawing(batch)).all()
        engine.close()
