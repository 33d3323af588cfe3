"""The generator at the paper's width: the engine that `apdraw convert` takes against PyTorch, in one run.

    python -m benchmarks.paper [--width 64] [--rounds 5] [--keep FOLDER]

PyTorch draws as one would first: eager, FP32, torch's own layers, all cores. The engine draws a model with running
statistics, and one with each photo's own, as imported weights of the authors have. Weights are random: they cost the
same. Rounds alternate, and medians are compared; the peak is a matrix product's, in the engine's precision, in the same
rounds. Run it on a machine that does nothing else. `--keep` leaves the models in a folder, for `apdraw bench --model`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from apdraw_cli.commands.bench import seconds_a_portrait
from benchmarks.training import plain
from engines.peak import MatrixProduct, gflop_per_portrait
from engines.portrait import Portrait
from engines.select import open_engine
from train.export import export_onnx, synthetic_portraits
from train.model_file import save_generator
from train.networks import Generator, GeneratorConfig
from train.networks.graph import DrawingGraph

STATISTICS = ("running", "photo")


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, given.width, given.rounds)


def measure(folder: Path, width: int, rounds: int) -> None:
    """Writes the models into a folder, and tells how fast they draw."""
    batch = synthetic_portraits(4)
    portraits = [Portrait(*arrays) for arrays in zip(batch.photo, batch.landmarks, batch.mask, strict=True)]
    models = {}
    for statistics in STATISTICS:
        models[statistics] = folder / f"width-{width}-{statistics}.onnx"
        torch.manual_seed(0)
        generator = Generator(GeneratorConfig(width, norm_statistics=statistics)).eval()
        save_generator(models[statistics].with_suffix(".safetensors"), generator)
        export_onnx(generator, models[statistics], {})
    eager = DrawingGraph(plain(Generator(GeneratorConfig(width))))
    engines = {statistics: open_engine(model) for statistics, model in models.items()}
    product = MatrixProduct(engines["running"].precision)

    def one_by_one() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            for index in range(len(batch)):
                eager(*(torch.from_numpy(array[index : index + 1]) for array in batch.inputs().values()))
        return (time.perf_counter() - start) / len(batch)

    ways: dict[str, Callable[[], float]] = {"torch": one_by_one}
    for statistics, engine in engines.items():
        ways[statistics] = lambda engine=engine: seconds_a_portrait(engine, portraits)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks = []
    for turn in range(rounds + 1):
        peak = max(product.gflops() for _ in range(3))
        found = {name: way() for name, way in ways.items()}
        if turn:  # the first warms up
            peaks.append(peak)
            for name, value in found.items():
                seconds[name].append(value)
    for engine in engines.values():
        engine.close()

    gflop = gflop_per_portrait(models["running"])
    name, precision = engines["running"].name, engines["running"].precision
    _tell(f"width {width}, {gflop:.0f} GFLOP a portrait; peak of a matrix product {median(peaks):.0f} GFLOP/s")
    for what, values in seconds.items():
        label = "torch eager, fp32" if what == "torch" else f"{name} {precision}, {what} statistics"
        share = gflop / median(values) / median(peaks)
        _tell(f"{label}: {median(values):.3f} s ({min(values):.3f} to {max(values):.3f}), {share:.0%} of the peak")
    middle = {what: median(values) for what, values in seconds.items()}
    _tell(f"{name} against torch: {middle['torch'] / middle['running']:.2f} x the portraits a second")
    _tell(f"a photo's own statistics against running ones: {middle['photo'] / middle['running']:.2f} x the time")


def _tell(text: str) -> None:
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
