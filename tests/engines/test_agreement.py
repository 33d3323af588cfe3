"""A real generator, small and untrained, drawn by every engine: all must give the same grey levels."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import ABOUT, lively_generator

from engines.errors import EngineError
from engines.model_info import read_metadata
from engines.portrait import PortraitBatch
from engines.select import ENGINES, open_engine, shipped_model
from engines.synthetic import synthetic_portraits
from train.export.half import BF16_DIFFERENCE
from train.model_file import load_generator, save_generator
from train.networks.graph import DrawingGraph
from train.samples import sample_portraits

CPU_ENGINES = tuple(name for name in ENGINES if name != "tensorrt")


def load_module(path: Path) -> torch.nn.Module:
    return DrawingGraph(load_generator(path)[0])


@pytest.fixture(scope="module", params=["running", "photo"])
def pair(request, generators, tmp_path_factory):
    """A `.safetensors` file and the `.onnx` exported from it, of one stem; the latter's path."""
    exported = generators.exported(request.param)
    model = tmp_path_factory.mktemp(request.param) / "small.onnx"
    save_generator(model.with_suffix(".safetensors"), exported.generator, ABOUT)
    shutil.copy(exported.path, model)
    return model


@pytest.fixture(scope="module")
def engines(pair):
    return {name: open_engine(pair, engine=name, precision="fp32", load_module=load_module) for name in CPU_ENGINES}


@pytest.fixture(scope="module")
def three():
    return synthetic_portraits(3, seed=3)


@pytest.fixture(scope="module")
def drawn_by_torch(engines, three):
    return engines["torch"].draw(three)


# With statistics of the photo and random weights a reduced precision changes single pixels by much.
running = pytest.mark.parametrize("pair", ["running"], indirect=True)


def first(batch, count):
    return PortraitBatch(batch.photo[:count], batch.landmarks[:count], batch.mask[:count])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", CPU_ENGINES)
def test_all_engines_draw_the_same_alone_and_in_a_batch(engines, three, drawn_by_torch, name, count):
    drawing = engines[name].draw(first(three, count))
    assert min(one.std() for one in drawing) > 5
    assert np.abs(drawing.astype(int) - drawn_by_torch[:count]).max() <= 1


def test_a_pair_tells_the_same_of_itself(pair):
    model, weights = read_metadata(pair), read_metadata(pair.with_suffix(".safetensors"))
    assert model == weights
    assert (model.name, model.version, model.licence) == ("small", "1.2", "CC0-1.0")
    assert model.norm_statistics == pair.parent.name.rstrip("0123456789")
    assert len(model.generator_sha256) == 64


@running
def test_weights_retrained_after_the_export_are_noticed(pair, tmp_path):
    model, weights = tmp_path / "small.onnx", tmp_path / "small.safetensors"
    model.write_bytes(pair.read_bytes())
    save_generator(weights, lively_generator(8, "running", seed=1), ABOUT)
    with pytest.raises(EngineError, match="not made of the same weights"):
        open_engine(model, engine="torch", load_module=load_module)


@running
def test_openvino_in_bf16_keeps_every_region_in_its_place_or_refuses(pair, three, drawn_by_torch):
    try:
        engine = open_engine(pair, engine="openvino", precision="bf16")
    except EngineError as error:
        pytest.skip(str(error))
    assert engine.precision == "bf16"
    far = (np.abs(engine.draw(three).astype(int) - drawn_by_torch) > 48).mean()
    assert far < 0.002


@running
def test_torch_in_bf16_is_close(pair, three, drawn_by_torch):
    engine = open_engine(pair, engine="torch", precision="bf16", load_module=load_module)
    assert engine.precision == "bf16"
    drawing = engine.draw(first(three, 2))
    difference = np.abs(drawing.astype(int) - drawn_by_torch[:2])
    assert difference.max() > 1
    assert (difference > 48).mean() < 0.002


def test_the_shipped_pair_draws_the_same_in_every_engine():
    model = shipped_model()
    assert read_metadata(model).generator_sha256 == read_metadata(model.with_suffix(".safetensors")).generator_sha256
    portrait = synthetic_portraits(1)
    drawings = []
    for name in CPU_ENGINES:
        engine = open_engine(model, engine=name, precision="fp32", load_module=load_module)
        drawings.append(engine.draw(portrait).astype(int))
        engine.close()
    assert np.ptp(np.stack(drawings), axis=0).max() <= 1


def test_the_shipped_model_draws_the_same_in_bf16():
    model = shipped_model()
    assert "bf16" in read_metadata(model).precisions
    try:
        engines = [open_engine(model, engine="openvino", precision=name) for name in ("fp32", "bf16")]
    except EngineError as error:
        pytest.skip(str(error))
    wanted, found = (engine.draw(sample_portraits()).astype(int) for engine in engines)
    assert np.abs(found - wanted).mean(axis=(1, 2)).max() <= BF16_DIFFERENCE
    assert ((found <= 127) != (wanted <= 127)).mean() < 0.002
