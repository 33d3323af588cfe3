import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch

from engines.errors import ModelFileError
from engines.model_info import read_metadata, sha256


def test_what_both_formats_say_is_read(write_model, write_weights):
    for path in (write_model(), write_weights()):
        info = read_metadata(path)
        assert (info.name, info.version, info.licence) == ("tiny", "0.1", "CC0-1.0")
        assert info.norm_statistics == "running"
        assert info.config == '{"width": 8}'
        assert info.training_data == "none"
        assert info.provenance == ""
        assert info.precision == "fp32"
        assert info.generator_sha256 == "ab" * 32


def test_texts_of_any_length_and_script_are_what_onnxruntime_reads(write_model):
    extra = {"licence": "Ünïcode ✓", "training_data": "x" * 100_000, "provenance": ""}
    metadata = {"format": "apdraw-generator", "format_version": "1", **extra}
    path = write_model(metadata=metadata)
    assert onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map == metadata
    info = read_metadata(path)
    assert {key: getattr(info, key) for key in extra} == extra


@pytest.mark.parametrize(
    ("listed", "kept"),
    [("", ("fp32",)), ("bf16,fp16", ("fp32", "fp16", "bf16")), ("fp32 bf16 int4", ("fp32", "bf16"))],
)
def test_only_known_precisions_count(write_model, listed, kept):
    path = write_model(metadata={"format": "apdraw-generator", "format_version": "1", "precisions": listed})
    assert read_metadata(path).precisions == kept


def test_upper_case_endings_are_fine(write_model):
    assert read_metadata(write_model("TINY.ONNX")).name == "tiny"


def test_sha256_is_that_of_the_bytes(tiny_model, tmp_path):
    assert sha256(tiny_model) == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    with pytest.raises(ModelFileError, match="cannot read"):
        sha256(tmp_path / "missing")


def assert_refused(path: Path, *words: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        read_metadata(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"hello, this is no model\n" * 50,
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff" * 64,
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_other_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    assert_refused(path)


def test_files_cut_short_are_refused(write_model, write_weights):
    for whole in (write_model(), write_weights()):
        content = whole.read_bytes()
        for length in (1, 7, 8, 9, 40, len(content) // 2, len(content) - 1):
            whole.write_bytes(content[:length])
            assert_refused(whole)


def test_damage_is_reported_or_harmless(write_model, write_weights):
    rng = np.random.default_rng(0)
    messages = []
    for path in (write_model(), write_weights()):
        content = path.read_bytes()
        for _ in range(300):
            damaged = bytearray(content)
            for place in rng.integers(len(content), size=3):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                read_metadata(path)
            except ModelFileError as error:
                messages.append(str(error))
    assert len(messages) > 50
    assert not any("\n" in message for message in messages)


def test_models_of_other_programs_are_refused(write_model, tmp_path):
    assert_refused(write_model(metadata={}), "no generator of this program")
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    assert_refused(path, "no generator of this program")


def test_a_newer_format_is_refused(write_model):
    path = write_model(metadata={"format": "apdraw-generator", "format_version": "2"})
    assert_refused(path, "format version '2'", "update")


def test_a_missing_file_a_folder_and_another_kind_are_refused(tmp_path):
    assert_refused(tmp_path / "missing.onnx", "there is no model")
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    assert_refused(folder)
    picture = tmp_path / "model.png"
    picture.write_bytes(b"x")
    assert_refused(picture, ".onnx", ".safetensors")


def test_a_large_graph_is_stepped_over(write_model):
    path = write_model()
    model = onnx.load(path)
    weights = np.zeros(3_000_000, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "unused"))
    onnx.save(model, path)
    assert path.stat().st_size > 12_000_000
    assert read_metadata(path).name == "tiny"


@pytest.mark.parametrize("place", ["initializer", "attribute", "branch"])
def test_a_model_whose_weights_are_in_other_files_is_refused(write_model, place):
    path = write_model()
    model = onnx.load(path)
    tensor = onnx.TensorProto(name="secret", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    if place == "initializer":
        model.graph.initializer.append(tensor)
    else:
        node = onnx.helper.make_node("Constant", [], ["secret"], value=tensor)
        if place == "branch":
            branch = onnx.helper.make_graph([node], "branch", [], [])
            node = onnx.helper.make_node("If", ["mask"], ["either"], then_branch=branch, else_branch=branch)
        model.graph.node.append(node)
    path.write_bytes(model.SerializeToString())
    assert_refused(path, "in other files")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_a_pipe_is_no_model(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    os.mkfifo(path)
    assert_refused(path, "not a regular file")
    with pytest.raises(ModelFileError, match="not a regular file"):
        sha256(path)
