"""`apdraw export`: the graph that it writes draws as the weights do, and what is refused."""

import builtins

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from typer.testing import CliRunner

from apdraw_cli import app
from apdraw_cli.commands.export import export
from apdraw_cli.commands.import_weights import import_weights
from apdraw_cli.commands.options import ExportOptions, ImportOptions
from engines.errors import DatasetError, ModelError, UnfitError, UsageError
from engines.model_info import read_metadata
from engines.portrait import PortraitBatch
from engines.select import shipped_model
from engines.signal_stack import signal_stack_kept
from engines.synthetic import synthetic_portraits
from train.export import to_onnx
from train.model_file import load_generator, save_generator
from train.networks import Generator, GeneratorConfig
from train.networks.graph import DrawingGraph


def test_the_authors_model_is_imported_exported_and_draws_as_recorded(shared, generators, tmp_path, capfd, monkeypatch):
    import cv2

    folder = shared / "golden" / "author_model"
    model, graph = tmp_path / "author.safetensors", tmp_path / "author.onnx"
    imported = import_weights(folder, model, ImportOptions(training_data="none"))
    assert imported.model == model
    generator, metadata = load_generator(model)
    assert imported.config == generator.config.to_json() == metadata["config"]
    assert imported.parameters == sum(p.numel() for p in generator.parameters())
    assert (metadata["name"], metadata["norm_statistics"]) == ("author", "photo")
    assert metadata["provenance"] == "imported from the author-format checkpoint author_model"

    generators.patch(monkeypatch)
    exported = export(model, graph, ExportOptions(precision="fp32"))
    assert exported.onnx == graph
    assert exported.size == graph.stat().st_size
    assert read_metadata(graph).generator_sha256 == read_metadata(model).generator_sha256
    assert capfd.readouterr() == ("", "")

    pair = cv2.imread(str(folder / "data/train/sample.png"))[..., ::-1]
    sample = PortraitBatch(
        np.ascontiguousarray(pair[None, :, :512]),
        np.loadtxt(folder / "lm/sample.txt", dtype=np.float32)[None],
        cv2.imread(str(folder / "bg/sample.png"), cv2.IMREAD_GRAYSCALE)[None],
    )
    recorded = np.load(folder / "outputs.npz")["drawing"] * 127.5 + 127.5
    rounding = np.abs(np.rint(recorded) - recorded).mean()
    others = synthetic_portraits(1)
    batch = PortraitBatch(*(np.concatenate(both) for both in zip(arrays(sample), arrays(others), strict=True)))
    with torch.inference_mode():
        wanted = DrawingGraph(generator)(*(torch.from_numpy(a) for a in arrays(batch))).numpy().astype(int)

    session = onnxruntime.InferenceSession(graph)
    with signal_stack_kept():
        compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    runtimes = [lambda inputs: session.run(["drawing"], inputs)[0], lambda inputs: compiled(inputs)["drawing"]]
    for count in (1, 2):
        inputs = PortraitBatch(*(a[:count] for a in arrays(batch))).inputs()
        for draw in runtimes:
            drawings = draw(inputs)
            away = np.abs(drawings[0] - recorded)
            assert away.max() <= 0.65  # rounding takes 0.5
            assert away.mean() <= rounding + 0.001
            assert np.abs(drawings - wanted[:count]).max() <= 1


def arrays(batch):
    return tuple(batch.inputs().values())


def test_export_takes_safetensors_and_writes_onnx(tmp_path):
    with pytest.raises(UsageError, match=r"\.safetensors"):
        export(tmp_path / "model.pt", tmp_path / "model.onnx")
    with pytest.raises(UsageError, match=r"\.onnx"):
        export(tmp_path / "model.safetensors", tmp_path / "model.engine")


def test_int8_wants_a_data_set_and_nothing_else_does(tmp_path):
    with pytest.raises(UsageError, match=r"int8 is calibrated .* --calibration"):
        ExportOptions(precision="int8")
    with pytest.raises(UsageError, match="--calibration is for --precision int8, not for fp16"):
        ExportOptions(precision="fp16", calibration=tmp_path)


def test_a_data_set_that_is_none_is_told(tmp_path):
    int8 = ExportOptions(precision="int8", calibration=tmp_path)
    with pytest.raises(DatasetError, match="is no prepared data set"):
        export(shipped_model().with_suffix(".safetensors"), tmp_path / "m.onnx", int8)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told_before_the_work(tmp_path):
    with pytest.raises(UsageError, match=r"there is no folder .*missing"):
        export(shipped_model().with_suffix(".safetensors"), tmp_path / "missing/m.onnx")


def test_export_of_a_bad_model_is_an_error_of_the_model(tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"nothing of the kind")
    with pytest.raises(UnfitError, match="damaged"):
        export(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("missing", ["torch", "onnxscript"])
def test_missing_packages_are_named_with_the_command(tmp_path, monkeypatch, missing):
    torch.manual_seed(0)
    model = tmp_path / "model.safetensors"
    save_generator(model, Generator(GeneratorConfig(2)))
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == missing or (missing == "torch" and name.startswith("train")):
            raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnfitError, match=rf"{missing}; install it with: python -m pip install .*onnxscript"):
        export(model, tmp_path / "model.onnx")
    if missing == "torch":
        with pytest.raises(UnfitError, match=r"torch; install it with: python -m pip install .*torch"):
            import_weights(tmp_path, tmp_path / "other.safetensors")


def test_export_tells_about_bf16(tmp_path, monkeypatch):
    # What the shipped weights were exported to takes no time to be made, and test_agreement.py draws with it.
    monkeypatch.setattr(to_onnx, "_traced", lambda graph: onnx.load(shipped_model()))
    monkeypatch.setattr(to_onnx, "verify", lambda graph, model, tolerance: None)
    told = CliRunner(env={"COLUMNS": "200"}).invoke(
        app.app,
        ["export", str(shipped_model().with_suffix(".safetensors")), str(tmp_path / "m.onnx"), "--precision", "fp32"],
    )
    assert told.exit_code == 0
    assert "  in bf16 grey levels from fp32: 0." in told.stdout
    assert told.stdout.rstrip().endswith("on average; auto takes it where the processor has it")


def test_a_file_in_half_precision_is_written_beside_it(tmp_path, generators, monkeypatch):
    generators.patch(monkeypatch)
    generator, metadata = generators.generator("timid", "photo")
    model, out = tmp_path / "m.safetensors", tmp_path / "m.onnx"
    save_generator(model, generator, metadata)
    result = export(model, out)
    assert (result.onnx, result.metadata["precision"], result.no_half) == (out, "fp32", None)
    assert result.half is not None
    assert (result.half.onnx, result.half.metadata["precision"]) == (tmp_path / "m.fp16.onnx", "fp16")
    assert read_metadata(out).generator_sha256 == read_metadata(result.half.onnx).generator_sha256
    result.half.onnx.unlink()
    monkeypatch.setattr(to_onnx, "halved", refuse)
    monkeypatch.setattr(to_onnx, "verify", lambda graph, model, tolerance: None)  # done above
    told = CliRunner(env={"COLUMNS": "200"}).invoke(app.app, ["export", str(model), str(out)])
    assert told.exit_code == 0
    assert told.stdout.rstrip().endswith(
        "none in fp16, so GPUs will draw in fp32 too: cannot export small in fp16: it greys"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.safetensors"]


def refuse(generator, portraits):
    raise ModelError("it greys")
