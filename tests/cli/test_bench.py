"""`apdraw bench`: what is measured, what is left behind, and what cannot be measured."""

import json
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from apdraw_cli import app
from apdraw_cli.commands import bench as commands
from apdraw_cli.commands import bench_peak
from apdraw_cli.commands.bench_peak import MatrixProduct, gflop_per_portrait
from engines.cpu import has_int8
from engines.errors import EngineError
from engines.select import shipped_model
from engines.synthetic import synthetic_portraits
from train.model_file import save_generator
from train.networks.graph import DrawingGraph

SAMPLES = Path(__file__).parents[2] / "samples"


def bench(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app.app, ["bench", *map(str, arguments)], prog_name="apdraw")


@pytest.fixture
def small_model(generators, tmp_path):
    """A model as the shipped one, a hundred times quicker to draw: what is named int8 is its graph once more."""
    exported = generators.exported("photo")
    folder = tmp_path / "model"
    folder.mkdir()
    save_generator(folder / "small.safetensors", exported.generator, exported.told)
    shutil.copy(exported.path, folder / "small.onnx")
    twin = onnx.load(exported.path)
    onnx.helper.set_model_props(twin, exported.told | {"precision": "int8"})
    onnx.save(twin, folder / "small.int8.onnx")
    return folder / "small.onnx"


def test_generator_and_pipeline_are_measured_in_one_run(tmp_path, monkeypatch, small_model):
    monkeypatch.setattr(commands, "bench", partial(commands.bench, least_seconds=0.1))
    monkeypatch.setattr(commands, "PORTRAITS", 1)
    monkeypatch.setattr(bench_peak, "SIZE", 512)
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(SAMPLES / "astronaut.png", photos)
    done = bench(photos, "--rounds", "1", "--json", "--model", small_model)
    assert done.exit_code == 0
    assert all(line.startswith("Measuring: ") for line in done.stderr.splitlines())
    found = json.loads(done.stdout)
    assert found["peaks"]["fp32"] > 1
    drawn = {(timing["engine"], timing["precision"]): timing for timing in found["generator"]}
    assert {("openvino", "fp32"), ("onnxruntime", "fp32"), ("torch", "fp32")} <= set(drawn)
    if has_int8():
        assert ("onnxruntime", "int8") in drawn
        assert drawn["openvino", "int8"]["of_peak"] > 0
    assert all(0 < t["fastest"] <= t["seconds"] <= t["slowest"] for t in found["generator"])
    # What is told is rounded: half a tenth is much where other work leaves little of the machine.
    assert all(
        t["gflops"] == pytest.approx(found["gflop"] / t["seconds"], rel=0.05, abs=0.06) for t in found["generator"]
    )
    assert set(found["stages"]) == {"read", "decode", "detect", "align", "segment", "draw", "encode", "write"}
    assert found["photos"] == 1
    assert found["photos_per_second"] > 0
    assert sorted(path.name for path in photos.iterdir()) == ["astronaut.png"]


def test_ctrl_c_ends_it_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    photo = shutil.copy(SAMPLES / "astronaut.png", tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(commands._Watch, "settled", lambda watch, outcome: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(sys, "argv", ["apdraw", "bench", photo])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 130
    assert list(scratch.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_the_work_is_what_torch_counts(generators):
    # Not the shipped model: its file was exported when regions were cropped by products.
    exported = generators.exported("photo")
    portrait = [torch.from_numpy(array) for array in synthetic_portraits(1).inputs().values()]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        DrawingGraph(exported.generator)(*portrait)
    assert gflop_per_portrait(exported.path) == pytest.approx(counter.get_total_flops() / 1e9, rel=0.01)


def test_what_cannot_be_measured_is_one_line(tmp_path):
    done = bench(tmp_path)
    assert (done.exit_code, done.stderr) == (
        2,
        "apdraw: error: there is no photo to measure with: name a folder of photos\n",
    )
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((300, 300, 3), 200, np.uint8))
    done = bench(tmp_path)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "none of these photos could be drawn" in done.stderr
    done = bench(tmp_path, "--model", shipped_model().with_suffix(".safetensors"))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "apdraw export" in done.stderr
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(EngineError, match=r"cannot read .*broken\.onnx; is the file whole\?"):
        gflop_per_portrait(broken)
    with pytest.raises(EngineError, match="does not compute in int3"):
        MatrixProduct("int3")
