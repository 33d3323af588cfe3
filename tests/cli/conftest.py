"""What tests of commands share."""

from pathlib import Path

import pytest

from engines.portrait import SIZE


@pytest.fixture(scope="session")
def brightness_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that needs no training: it draws the photo in grey, on white where there is no person."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shapes = {"photo": ["batch", SIZE, SIZE, 3], "landmarks": ["batch", 5, 2], "mask": ["batch", SIZE, SIZE]}
    types = {"photo": TensorProto.UINT8, "landmarks": TensorProto.FLOAT, "mask": TensorProto.UINT8}
    nodes = [
        helper.make_node("Cast", ["photo"], ["colours"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colours", "last"], ["grey"], keepdims=0),
        helper.make_node("Cast", ["mask"], ["person"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["white", "person"], ["page"]),
        helper.make_node("Max", ["grey", "page"], ["levels"]),
        helper.make_node("ReduceMax", ["landmarks", "places"], ["furthest"], keepdims=1),
        helper.make_node("Mul", ["furthest", "nothing"], ["zero"]),
        helper.make_node("Add", ["levels", "zero"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["drawing"], to=TensorProto.UINT8),
    ]
    constants = [
        helper.make_tensor("last", TensorProto.INT64, [1], [3]),
        helper.make_tensor("places", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("white", TensorProto.FLOAT, [1], [255.0]),
        helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info(name, types[name], shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("drawing", TensorProto.UINT8, ["batch", SIZE, SIZE])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    metadata = {"format": "apdraw-generator", "format_version": "1", "name": "brightness"}
    helper.set_model_props(model, metadata)
    path = tmp_path_factory.mktemp("model") / "brightness.onnx"
    onnx.save(model, path)
    return path
