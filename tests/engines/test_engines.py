"""What every engine must do, tried with a tiny graph on each of them."""

import dataclasses
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto

from engines.errors import EngineError, ModelFileError
from engines.portrait import Portrait, PortraitBatch
from engines.select import ENGINES, open_engine

CPU_ENGINES = tuple(name for name in ENGINES if name != "tensorrt")


@pytest.fixture(params=CPU_ENGINES)
def engine(request, tiny_pair, load_tiny):
    opened = open_engine(tiny_pair, engine=request.param, load_module=load_tiny)
    yield opened
    opened.close()


@pytest.fixture(params=["openvino", "onnxruntime"])
def onnx_engine(request):
    return request.param


def assert_same(drawing, expected):
    assert drawing.dtype == np.uint8
    assert drawing.shape == expected.shape
    assert np.abs(drawing.astype(int) - expected.astype(int)).max() <= 1


def test_it_says_what_it_is(engine):
    assert engine.name in CPU_ENGINES
    assert engine.device == "cpu"
    assert engine.precision == "fp32"
    assert engine.batch_size >= 1
    assert engine.concurrency >= 1


@pytest.mark.parametrize("count", [1, 3, 8])
def test_it_draws_batches(engine, make_batch, expected_drawing, count):
    batch = make_batch(count)
    assert_same(engine.draw(batch), expected_drawing(batch))


def test_a_drawing_does_not_depend_on_its_batch(engine, make_batch):
    batch = make_batch(3)
    together = engine.draw(batch)
    for index, alone in enumerate(together):
        part = slice(index, index + 1)
        single = PortraitBatch(batch.photo[part], batch.landmarks[part], batch.mask[part])
        assert_same(engine.draw(single)[0], alone)


def test_a_drawing_outlives_the_next_one(engine, make_batch):
    first = engine.draw(make_batch(2, seed=1))
    kept = first.copy()
    for seed in range(2, 6):
        engine.draw(make_batch(2, seed=seed))
    assert (first == kept).all()


def test_many_threads_get_their_own_drawings(engine, make_batch, expected_drawing):
    batches = [make_batch(1 + seed % 3, seed) for seed in range(12)]
    with ThreadPoolExecutor(6) as pool:
        for batch, drawing in zip(batches, pool.map(engine.draw, batches), strict=True):
            assert_same(drawing, expected_drawing(batch))


def test_arrays_of_any_layout_are_drawn(engine, make_batch, expected_drawing):
    batch = make_batch(2)
    strided = PortraitBatch(batch.photo[:, ::-1], batch.landmarks[::-1], batch.mask[:, :, ::-1])
    assert_same(engine.draw(strided), expected_drawing(strided))
    for array in (batch.photo, batch.landmarks, batch.mask):
        array.flags.writeable = False
    assert_same(engine.draw(batch), expected_drawing(batch))


def test_portraits_can_be_stacked(engine, make_batch, expected_drawing):
    batch = make_batch(2)
    portraits = [Portrait(*parts) for parts in zip(batch.photo, batch.landmarks, batch.mask, strict=True)]
    assert_same(engine.draw(PortraitBatch.of(portraits)), expected_drawing(batch))


@pytest.mark.parametrize(
    "change",
    [
        lambda b: {"photo": b.photo.astype(np.float32)},
        lambda b: {"photo": b.photo[:, :256]},
        lambda b: {"photo": b.photo[..., 0]},
        lambda b: {"landmarks": b.landmarks.astype(np.float64)},
        lambda b: {"landmarks": b.landmarks[:, :4]},
        lambda b: {"landmarks": np.full_like(b.landmarks, np.nan)},
        lambda b: {"mask": b.mask[:1]},
        lambda b: {"mask": b.mask > 0},
        lambda b: {"photo": b.photo[:0], "landmarks": b.landmarks[:0], "mask": b.mask[:0]},
    ],
)
def test_wrong_batches_are_refused(engine, make_batch, expected_drawing, change):
    batch = make_batch(2)
    with pytest.raises(EngineError, match=r"^cannot draw [^\n]+$"):
        engine.draw(dataclasses.replace(batch, **change(batch)))
    assert_same(engine.draw(batch), expected_drawing(batch))


def test_a_closed_engine_draws_no_more(engine, make_batch):
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.draw(make_batch(1))


def test_closing_wakes_calls_that_wait(engine, make_batch):
    outcomes = []

    def draw():
        try:
            outcomes.append(engine.draw(make_batch(4)))
        except EngineError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=draw, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    engine.close()
    for thread in threads:
        thread.join(timeout=30)
    assert len(outcomes) == 6


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_the_batch_size_is_respected(tiny_pair, load_tiny, make_batch, expected_drawing, name):
    engine = open_engine(tiny_pair, engine=name, batch_size=5, load_module=load_tiny)
    assert engine.batch_size == 5
    batch = make_batch(2)
    assert_same(engine.draw(batch), expected_drawing(batch))
    engine.close()


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_nothing_is_printed(capfd, tiny_pair, load_tiny, make_batch, name):
    engine = open_engine(tiny_pair, engine=name, load_module=load_tiny)
    engine.draw(make_batch(2))
    engine.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change",
    [
        {"photo": ("photo", TensorProto.FLOAT, ["batch", 512, 512, 3])},
        {"photo": ("photo", TensorProto.UINT8, [1, 512, 512, 3])},
        {"photo": ("photo", TensorProto.UINT8, ["batch", "height", "width", 3])},
        {"photo": ("image", TensorProto.UINT8, ["batch", 512, 512, 3])},
        {"drawing": ("picture", TensorProto.UINT8, ["batch", 512, 512])},
        {"drawing": ("drawing", TensorProto.FLOAT, ["batch", 512, 512])},
        {"extra_input": True},
    ],
)
def test_graphs_with_another_signature_are_refused(write_model, onnx_engine, change):
    path = write_model(**change)
    with pytest.raises(ModelFileError, match=r"^[^\n]*is not a portrait generator[^\n]*$"):
        open_engine(path, engine=onnx_engine)


def test_a_damaged_graph_is_one_line(capfd, tiny_model, onnx_engine):
    content = tiny_model.read_bytes()
    tiny_model.write_bytes(content.replace(b"ReduceMean", b"ReduceBean"))
    with pytest.raises(EngineError, match=rf"^{onnx_engine} cannot load [^\n]*tiny.onnx: [^\n]+$"):
        open_engine(tiny_model, engine=onnx_engine)
    assert capfd.readouterr() == ("", "")


def test_whatever_is_damaged_nothing_but_an_engine_error_comes(capfd, tiny_model, onnx_engine):
    content = tiny_model.read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        tiny_model.write_bytes(damaged)
        try:
            open_engine(tiny_model, engine=onnx_engine).close()
        except EngineError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert not any("\n" in message for message in messages)
    assert capfd.readouterr().out == ""


def test_a_module_that_draws_something_else_is_refused(tiny_pair, make_batch):
    def load(path):
        import torch

        class Wrong(torch.nn.Module):
            def forward(self, photo, landmarks, mask):
                return photo.float().mean(dim=3)

        return Wrong()

    engine = open_engine(tiny_pair, engine="torch", load_module=load)
    with pytest.raises(ModelFileError, match="not a portrait generator"):
        engine.draw(make_batch(1))


def test_a_loader_that_fails_is_one_line(tiny_pair):
    def load(path):
        raise KeyError("weights\nof nothing")

    with pytest.raises(EngineError, match=r"^torch cannot load [^\n]+$"):
        open_engine(tiny_pair, engine="torch", load_module=load)


def test_torch_leaves_its_settings_as_they_were(tiny_pair, load_tiny, make_batch):
    import torch

    engine = open_engine(tiny_pair, engine="torch", precision="bf16", load_module=load_tiny)
    engine.draw(make_batch(1))
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signal stacks are looked at on Linux only")
def test_a_signal_is_still_handled_after_two_engines_were_closed(tiny_model):
    """In a process of its own, which a lost signal stack would kill."""
    program = f"""
import gc, signal
from pathlib import Path
from engines.select import open_engine
first = open_engine(Path({str(tiny_model)!r}), engine="openvino")
second = open_engine(Path({str(tiny_model)!r}), engine="openvino")
for engine in (first, second):
    engine.close()
del engine, first
gc.collect()
del second
gc.collect()
received = []
signal.signal(signal.SIGCHLD, lambda number, frame: received.append(number))
signal.raise_signal(signal.SIGCHLD)
print(received == [signal.SIGCHLD], end="")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True")
