"""A new engine is one module and one line of the registry; everything else asks its backend."""

import dataclasses
import sys
import types

import numpy as np
import pytest

from apdraw_cli.commands.doctor import doctor
from engines import registry, select
from engines.base import Backend, CompiledFiles, EngineStatus
from engines.installed import Part
from engines.model_info import read_metadata, sha256
from engines.options import PRECISIONS
from engines.registry import ENGINES, backend, backends
from engines.select import model_sha256, open_engine, read_model, survey
from engines.tensorrt import cuda

CPU_ONLY = pytest.mark.skipif(bool(select.find_gpus()), reason="this machine has an NVIDIA GPU")


class ToyEngine:
    name, concurrency, batch_size, precision = "toy", 1, 1, "fp32"

    def __init__(self, request):
        self.request = request
        self.device = request.device

    def draw(self, batch):
        return np.zeros((len(batch), 512, 512), np.uint8)

    def close(self):
        pass


@pytest.fixture
def toy(monkeypatch):
    """An engine that draws `.toy` and `.onnx` files on the CPU: a module and a line."""
    module = types.ModuleType("toy_engine")
    module.BACKEND = Backend(
        name="toy",
        suffixes=(".toy", ".onnx"),
        devices=("cpu",),
        precisions=("fp32",),
        status=lambda gpus: EngineStatus("toy", True, "1.0", ("cpu",)),
        open=ToyEngine,
        parts=lambda gpus: (Part("toy-library", "1.0", "plays"),),
        compiled=CompiledFiles(
            ".toy",
            read_info=lambda model: read_metadata(model.with_suffix(".onnx")),
            model_sha256=lambda model: "ab" * 32,
            usable_on=lambda model, gpus: "cpu",
        ),
    )
    monkeypatch.setitem(sys.modules, "toy_engine", module)
    lines = {"toy": "toy_engine", **registry._MODULES}
    monkeypatch.setattr(registry, "_MODULES", lines)
    monkeypatch.setattr(registry, "ENGINES", tuple(lines))
    monkeypatch.setattr(select, "ENGINES", tuple(lines))
    return module.BACKEND


@pytest.fixture
def untried(monkeypatch):
    """What is installed is not tried: it is not what these tests look at."""
    monkeypatch.setattr("apdraw_cli.commands.doctor.import_faults", lambda modules: {})
    monkeypatch.setattr("apdraw_cli.commands.doctor.drawing_fault", lambda arguments: None)


@CPU_ONLY
@pytest.mark.usefixtures("untried")
def test_a_new_engine_is_found_chosen_opened_and_told_of(toy, tiny_pair, make_batch, monkeypatch):
    (told,) = (status for status in survey() if status.picked)
    assert told.name == "toy"
    diagnosis = doctor()
    assert diagnosis.picked == "toy on cpu"
    assert diagnosis.engines[0].name == "toy"
    assert "toy-library" not in [part.name for part in diagnosis.gpu]  # parts are for a GPU, and there is none
    with monkeypatch.context() as patched:
        patched.setattr(cuda, "find_gpus", lambda: (cuda.Gpu("NVIDIA L4", "8.9"),))
        assert "toy-library" in [part.name for part in doctor().gpu]
    for options in ({}, {"engine": "toy"}):
        engine = open_engine(tiny_pair, batch_size=3, **options)
        assert (engine.name, engine.device, engine.request.batch_size) == ("toy", "cpu", 3)
        assert engine.draw(make_batch(2)).shape == (2, 512, 512)


@CPU_ONLY
@pytest.mark.usefixtures("untried")
def test_its_compiled_files_are_drawn_by_nothing_else(toy, tiny_pair):
    compiled = tiny_pair.with_suffix(".toy")
    compiled.touch()
    assert read_model(compiled) == read_model(tiny_pair)
    assert model_sha256(compiled) == "ab" * 32
    assert model_sha256(tiny_pair) == sha256(tiny_pair)
    assert open_engine(compiled).request.model == compiled
    with pytest.raises(select.EngineError, match=r"openvino cannot draw .*tiny.toy: only toy draws it"):
        open_engine(compiled, engine="openvino")
    assert doctor(compiled).model.state.endswith("fits cpu")


def test_each_line_names_a_module_that_keeps_the_contract():
    assert tuple(each.name for each in backends()) == ENGINES
    for each in backends():
        assert backend(each.name) is each
        assert {*each.devices} <= {"cuda", "cpu"}
        assert {*each.precisions} <= {*PRECISIONS}
        assert all(suffix.startswith(".") for suffix in each.suffixes)
        assert each.status(()).name == each.name


@CPU_ONLY
def test_backends_of_one_kind_of_device_are_tried_in_their_order(toy, tiny_pair, load_tiny):
    order = [(each.name, device) for each, device in select._candidates(registry.backends(), "auto", (object(),))]
    assert order == [
        *[(name, "cuda:0") for name in ("tensorrt", "onnxruntime", "torch")],
        *[(name, "cpu") for name in ("toy", "openvino", "onnxruntime", "torch")],
    ]
    assert dataclasses.is_dataclass(toy)
