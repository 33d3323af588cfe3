"""What `auto` takes and says on machines with NVIDIA GPUs of all kinds, all fake; docs/gpu.md holds it as a table."""

import logging
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conversion_fakes import Desk, no_engine, save_photo
from fake_cuda import FakeCuda, FakeDriver, cudaError_t
from fake_tensorrt import FakeTensorRT, install

from engines.installed import pip_install
from engines.select import open_engine
from engines.tensorrt import cuda, engine_cache, library
from engines.tensorrt.cuda import Gpu

DOCS = Path(__file__).parents[3] / "docs" / "gpu.md"

RTX_3060 = Gpu("NVIDIA GeForce RTX 3060", "8.6")
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", "8.9")
T4 = Gpu("Tesla T4", "7.5")
L4 = Gpu("NVIDIA L4", "8.9")
H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0")

WSL = "/usr/lib/wsl/lib/libcuda.so.1"


@dataclass(frozen=True)
class Machine:
    """A machine; `device` is what its user asks for."""

    gpus: tuple[Gpu, ...]
    flavors: tuple[str, ...] = ("tensorrt-rtx",)
    device: str = "auto"
    fault: int = 0
    errors: dict[str, cudaError_t] = field(default_factory=dict)
    driver: str = "libcuda.so.1"
    room: int = 1 << 30


MACHINES = {
    "RTX 3060, TensorRT for RTX": Machine((RTX_3060,)),
    "RTX 4090, TensorRT for RTX": Machine((RTX_4090,)),
    "T4, TensorRT for RTX": Machine((T4,)),
    "H100, TensorRT": Machine((H100,), ("tensorrt",)),
    "H100, TensorRT for RTX": Machine((H100,)),
    "L4 and H100, both, `--device cuda`": Machine((L4, H100), ("tensorrt", "tensorrt-rtx"), device="cuda"),
    "L4 and T4, TensorRT, `--device cuda`": Machine((L4, T4), ("tensorrt",), device="cuda"),
    "RTX 3060, no TensorRT": Machine((RTX_3060,), ()),
    "H100, no TensorRT": Machine((H100,), ()),
    "RTX 4090, an old driver": Machine(
        (RTX_4090,), errors={"cudaGetDeviceCount": cudaError_t.cudaErrorInsufficientDriver}
    ),
    "8 H100, fabric manager not started (802)": Machine((H100,) * 8, ("tensorrt",), fault=802),
    "RTX 3060 in WSL, its memory nearly full": Machine((RTX_3060,), driver=WSL, room=12 << 20),
}


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Makes a machine this one; returns its CUDA and its kinds of TensorRT."""

    def started(machine: Machine) -> tuple[FakeCuda, dict[str, FakeTensorRT]]:
        FakeDriver(machine.gpus, machine.fault, machine.driver).install(monkeypatch)
        runtime = FakeCuda([gpu.compute_capability for gpu in machine.gpus], room=machine.room, fail=machine.errors)
        runtime.spills = machine.driver == WSL
        flavors = {flavor: FakeTensorRT(runtime, flavor) for flavor in machine.flavors}
        install(monkeypatch, runtime, FakeTensorRT(runtime))
        for flavor, module in library.MODULES.items():
            monkeypatch.setitem(sys.modules, module, flavors[flavor].module() if flavor in flavors else None)
        monkeypatch.setenv("APDRAW_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(engine_cache, "GPU_BATCH_SIZE", 4)
        return runtime, flavors

    return started


@pytest.fixture
def model(write_model, write_weights, tiny_metadata):
    """A model as the shipped one: in single precision, and beside it in half."""
    about = tiny_metadata | {"precisions": "fp16"}
    write_weights("apdraw.safetensors", metadata=about)
    write_model("apdraw.fp16.onnx", metadata=about | {"precision": "fp16"}, half=True)
    return write_model("apdraw.onnx", metadata=about)


@pytest.mark.parametrize("name", MACHINES)
def test_auto_takes_and_says_what_the_page_tells(name, start, model, make_batch, expected_drawing, caplog, tmp_path):
    runtime, _ = start(MACHINES[name])
    batch = make_batch(5)
    with caplog.at_level(logging.WARNING):
        engine = open_engine(model, device=MACHINES[name].device)
    for _ in range(3):
        assert (engine.draw(batch) == expected_drawing(batch)).all()
    engine.close()
    assert runtime.leaked() == []
    said = "; ".join(record.getMessage() for record in caplog.records).replace(
        str(tmp_path / "cache"), "~/.cache/apdraw"
    )
    said = re.sub(r"(/engines/)[0-9a-f]{32}", r"\1...", said)
    for flavor in library.MODULES:  # the page tells how it is installed in a clone
        said = said.replace(pip_install(flavor), f"python -m pip install '.[{flavor}]'")
    row = f"| {name} | {engine.name} on {engine.device} in {engine.precision} | {said} |"
    assert row in DOCS.read_text("utf-8").splitlines(), f"docs/gpu.md lacks this row:\n{row}"


def test_the_page_tells_of_no_other_machine():
    table = DOCS.read_text("utf-8").split("| machine |")[1].split("\n\n")[0].splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in table] == [*MACHINES]


def test_each_engine_is_built_and_inspected_on_the_gpu_that_is_to_draw(start, model):
    """The fake builds for the GPU that is current, and refuses to load what was built for another kind."""
    runtime, flavors = start(MACHINES["L4 and T4, TensorRT, `--device cuda`"])
    open_engine(model, engine="tensorrt", device="cuda:1,cuda:0").close()
    assert flavors["tensorrt"].built == [("7.5",), ("8.9",)]
    assert runtime.leaked() == []


def test_shards_of_a_gpu_each_are_one_conversion(start, model, tmp_path):
    """A process for each GPU, all into one folder, as the page of capacities tells."""
    runtime, _ = start(Machine((L4, L4), ("tensorrt",)))
    desk = Desk(tmp_path)
    for number in range(6):
        save_photo(desk.photos / f"p{number}.png", 100 + number)

    def draw(**options):
        return desk.convert(lambda given, _: open_engine(model, engine="tensorrt", device=given.device), **options)

    results = [draw(shard=f"{number}/2", device=f"cuda:{number}") for number in (0, 1)]
    assert [result.device for result in results] == ["cuda:0", "cuda:1"]
    assert sum(result.done for result in results) == 6
    assert min(result.done for result in results) > 0
    whole = tmp_path / "whole"
    draw(output=whole, device="cuda:0")
    drawings = {path.name: path.read_bytes() for path in whole.glob("*.png")}
    assert {path.name: path.read_bytes() for path in desk.out.glob("*.png")} == drawings
    assert desk.convert(no_engine).skipped == 6
    assert [path.name for path in desk.out.glob("apdraw-manifest*")] == ["apdraw-manifest.jsonl"]
    assert runtime.leaked() == []


def test_a_compiler_that_refuses_is_quoted(start, model, caplog):
    _, flavors = start(MACHINES["T4, TensorRT for RTX"])
    flavors["tensorrt-rtx"].refuses_to_build = "Cannot compile operation for Turing (SM75)"
    engine = open_engine(model)
    assert engine.device == "cpu"
    assert caplog.records[-1].getMessage().startswith("drawing with openvino on cpu: tensorrt cannot compile")
    assert "Turing (SM75)" in caplog.text


def test_what_lies_in_another_place_is_no_driver(start):
    start(Machine((RTX_3060,), driver="elsewhere"))
    assert cuda.find_gpus() == ()
    start(Machine((RTX_3060,), driver=WSL))
    assert cuda.find_gpus() == (RTX_3060,)
