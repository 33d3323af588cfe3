"""The planner: which part of a machine is the narrowest, and what a kernel costs a card at least."""

import pytest

from benchmarks import gpu_check, kernels, pipeline_ceiling
from benchmarks.capacity import UNDER_LOCK, Costs, capacity, table
from benchmarks.kernels import CARDS, Card, portraits_per_second

COSTS = Costs(prepare=0.016, main=0.003)


@pytest.mark.parametrize(
    ("cores", "workers", "gpus", "narrowest", "photos_per_second"),
    [
        (8, 7, 10_000.0, "cores", 8 / 0.019),
        (8, 2, 10_000.0, "workers", 2 / 0.016),
        (8, 7, 300.0, "GPUs", 300.0),
        (64, 63, 10_000.0, "main process", 1 / (0.003 * UNDER_LOCK)),
    ],
)
def test_the_narrowest_part_decides(cores, workers, gpus, narrowest, photos_per_second):
    found = capacity(COSTS, cores, workers, gpus)
    assert (found.narrowest, found.photos_per_second) == (narrowest, pytest.approx(photos_per_second))


def test_a_cpu_that_draws_has_that_to_do_too():
    assert capacity(Costs(0.016, 0.003, draw=0.1), 2, 1).photos_per_second == pytest.approx(2 / 0.119)


def test_shards_add_up_where_a_main_process_is_the_narrowest():
    found = capacity(COSTS, 64, 63, 10_000.0, processes=2)
    assert (found.narrowest, found.photos_per_second) == ("main process", pytest.approx(2 / (0.003 * UNDER_LOCK)))
    assert capacity(COSTS, 64, 63, 10_000.0, processes=5).narrowest == "cores"


LINES = """
Layers:
Name: shapes, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata:
Name: conv, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [-1,24,256,256], Strides: [1,1,1,1], \
StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], Constants: [ { Name: w, Dimensions: \
[48,24,4,4], Strides: [1,1,1,1], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) }, { Name: b, Dimensions: [1], \
Datatype: Float, Format: (Linear) }], Outputs: [ { Name: c, Dimensions: [-1,48,128,128], Strides: [1,1,1,1], Datatype: \
Half, Format: (NHWC) }], TacticName: x, StreamId: 0, Metadata: [ONNX Layer: node_conv]
Name: up, LayerType: deconv, Inputs: [ { Name: c, Dimensions: [-1,48,64,64], Datatype: Float, Format: (NHWC) }], \
Constants: [ { Name: w, Dimensions: [48,24,4,4], Datatype: Float, Format: (NHWC) }], Outputs: [ { Name: d, Dimensions: \
[-1,24,128,128], Datatype: Float, Format: (NHWC) }], TacticName: x, StreamId: 0, Metadata:
Name: norm, LayerType: kgen, Inputs: [ { Name: d, Dimensions: [-1,24,128,128], Datatype: Float, Format: (NHWC) }], \
Constants: [], Outputs: [ { Name: e, Dimensions: [-1,24,128,128], Datatype: Half, Format: (NHWC) }], TacticName: x, S: 0
I/O Tensors:
""".splitlines()


def test_kernels_are_read_out_of_the_log_of_a_build():
    convolution, up, norm = found = tuple(kernels._kernels(LINES))
    assert [kernel.kind for kernel in found] == ["correlation", "deconv", "kgen"]
    assert (convolution.is_half, up.is_half, norm.is_half, norm.filters) == (True, False, False, None)
    assert convolution.traffic(2) == 2 * 2 * (24 * 256 * 256 + 48 * 128 * 128)
    assert convolution.operations(2) == 2 * 2 * 128 * 128 * 48 * 24 * 16
    assert up.operations(1) == 2 * 64 * 64 * 48 * 24 * 16
    assert norm.traffic(1) == (4 + 2) * 24 * 128 * 128


def test_a_kernel_takes_as_long_as_its_slower_half():
    found = tuple(kernels._kernels(LINES))[:1]
    by_memory = Card(bandwidth=1e9, half=1e15, single=1e15, cache=0)
    by_products = Card(bandwidth=1e15, half=1e9, single=1e15, cache=0)
    moved = found[0].traffic(1) + found[0].weights[0].bytes(1) + 4
    assert portraits_per_second(found, by_memory, 1) == pytest.approx(1e9 / moved, rel=1e-3)
    assert portraits_per_second(found, by_products, 1) == pytest.approx(0.45e9 / found[0].operations(1), rel=1e-3)


def test_the_table_names_what_is_narrowest():
    rows = table(COSTS, tuple(kernels._kernels(LINES)), (4, 64), ("L4", "H100 SXM"))
    assert [row.count("|") for row in rows] == [5, 5, 5, 5]
    assert rows[2].endswith("| workers |")
    assert set(CARDS) >= {"L4", "H100 SXM"}


def test_an_engine_of_no_cost_hands_out_drawings():
    engine = pipeline_ceiling.NoCost()
    drawings = engine.draw(pipeline_ceiling._one())
    assert drawings.shape == (1, 512, 512)
    assert 0 < (drawings <= 127).mean() < 1
    assert engine.sizes == [1]


def test_photos_go_the_whole_way_to_an_engine_of_no_cost():
    found = pipeline_ceiling.measure([], workers=1, count=40)
    assert found.photos_per_second > 0
    assert 0 < found.main_seconds < 1
    assert 0 <= found.worker_seconds < 1


def test_a_section_that_is_none_is_told(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu_check", "everything"])
    with pytest.raises(SystemExit):
        gpu_check.main()
    assert "there is no section everything: choose from seen, tensorrt," in capsys.readouterr().err
