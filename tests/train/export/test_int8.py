import json
import shutil

import numpy as np
import onnx
import pytest

from engines.cpu import has_int8
from engines.errors import ModelError
from engines.model_info import read_metadata
from engines.portrait import PortraitBatch
from engines.select import fast_on_cpu, open_engine, read_model, shipped_model
from engines.synthetic import synthetic_portraits
from train.evaluation.metrics import ssim
from train.export import int8 as quantization
from train.export.to_onnx import export_onnx
from train.samples import sample_portraits

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this processor has no instructions for int8")


def one_by_one(portraits):
    return [PortraitBatch(*(array[i : i + 1] for array in portraits.inputs().values())) for i in range(len(portraits))]


@pytest.fixture
def in_both(generators, tiny_dataset, monkeypatch):
    """The same weights in float32 and in int8, calibrated on three portraits."""
    monkeypatch.setattr(quantization, "LARGEST_SHARE", 0.2)  # random weights hang on every bit
    return generators.exported("photo").path, generators.exported("photo", "int8", calibration=tiny_dataset).path


def test_every_convolution_is_in_int8(in_both):
    plain, rounded = (onnx.load(path).graph for path in in_both)
    made_by = {output: node.op_type for node in rounded.node for output in node.output}
    convolutions = [node for node in rounded.node if node.op_type in ("Conv", "ConvTranspose")]
    assert len(convolutions) == sum(node.op_type in ("Conv", "ConvTranspose") for node in plain.node) > 50
    for node in convolutions:
        assert [made_by[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2
    stored = {weight.name: weight.data_type for weight in rounded.initializer}
    weights = [
        stored[node.input[0]] for node in rounded.node if node.op_type == "DequantizeLinear" and node.input[0] in stored
    ]
    assert weights == [onnx.TensorProto.INT8] * len(convolutions)
    assert in_both[1].stat().st_size < 0.4 * in_both[0].stat().st_size


def test_it_says_what_it_is(in_both):
    plain, rounded = map(read_metadata, in_both)
    assert (plain.precision, rounded.precision) == ("fp32", "int8")
    assert plain.generator_sha256 == rounded.generator_sha256 is not None
    told = {entry.key: entry.value for entry in onnx.load(in_both[1]).metadata_props}
    assert "of the pixels at most" in told["int8_difference"]


def test_a_drawing_that_would_change_is_refused(in_both, generators, tiny_dataset, tmp_path, monkeypatch):
    generators.patch(monkeypatch)
    lively, _ = generators.generator("lively", "photo")
    # That was done when the fixture's file was written.
    monkeypatch.setattr(quantization, "in_int8", lambda model, portraits: onnx.load(in_both[1]))
    monkeypatch.setattr(quantization, "LARGEST_SHARE", 1e-6)
    with pytest.raises(ModelError, match="use --precision fp32"):
        export_onnx(lively, tmp_path / "m.onnx", {}, precision="int8", calibration=tiny_dataset)
    assert list(tmp_path.iterdir()) == []


def test_ranges_come_from_the_split_train_and_the_trial_from_val(tiny_dataset, tmp_path, monkeypatch):
    shutil.copytree(tiny_dataset, tmp_path / "set")
    entries = [{"name": str(i), "split": "val" if i == 2 else "train", "left_out": None} for i in range(3)]
    (tmp_path / "set/index.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    seen = []
    monkeypatch.setattr(quantization, "_compared", lambda plain, rounded, portraits: (len([*portraits]), 0.0))
    monkeypatch.setattr(quantization, "LARGEST_SHARE", 9)

    import onnxruntime.quantization

    def quantize(plain, rounded, reader, **options):
        shutil.copy(plain, rounded)
        while (portrait := reader.get_next()) is not None:
            seen.append(portrait)

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", quantize)
    model = onnx.load(shipped_model())
    portraits = quantization.calibration_portraits(tmp_path / "set")
    assert quantization.quantized(model, *portraits).changed == 1
    expected = synthetic_portraits(3, 0)
    assert len(seen) == 2
    for index, portrait in enumerate(seen):
        assert np.array_equal(portrait["photo"][0], expected.photo[index])
        assert np.array_equal(portrait["mask"][0], expected.mask[index])
        assert np.array_equal(portrait["landmarks"][0], np.trunc(expected.landmarks[index]))


@needs_int8
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_shipped_model_draws_the_same_in_int8(engine):
    model = shipped_model()
    plain, rounded = (open_engine(model, engine=engine, precision=precision) for precision in ("fp32", "int8"))
    for portrait in one_by_one(sample_portraits()):
        wanted, found = plain.draw(portrait)[0], rounded.draw(portrait)[0]
        assert 0 < np.mean((wanted < 128) != (found < 128)) < 0.005
        assert ssim(found, wanted) > 0.97


@needs_int8
def test_the_shipped_model_is_drawn_in_what_is_fast_by_itself():
    model = shipped_model()
    assert open_engine(model).precision == fast_on_cpu(read_model(model))
