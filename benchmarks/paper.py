"""The generator at the paper's width: the engine that `apdraw convert` takes against PyTorch, in one run.

    python -m benchmarks.paper [--width 64] [--rounds 5] [--keep FOLDER]

PyTorch draws as one would first: eager, FP32, torch's own layers, all cores. The engine draws a model with running
statistics, and one with each photo's own, as imported weights of the authors have; in the precision that a conversion
takes here, in FP32, and in INT8 where the processor has it. Weights are random: they cost the same. Rounds alternate,
and medians are compared; peaks are those of a matrix product in the same precision, in the same rounds. Run it on a
machine that does nothing else. `--keep` leaves the models in a folder, for `apdraw bench --model`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median

import onnx
import torch

from apdraw_cli.commands.bench_generator import seconds_a_portrait
from apdraw_cli.commands.bench_peak import MatrixProduct, gflop_per_portrait
from benchmarks.training import plain
from engines.cpu import has_int8
from engines.portrait import Portrait
from engines.select import TWINS, open_engine
from engines.synthetic import synthetic_portraits
from train.export.int8 import in_int8
from train.export.to_onnx import describe, export_onnx
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
    models: dict[str, Path] = {}
    for statistics in STATISTICS:
        models[statistics] = folder / f"width-{width}-{statistics}.onnx"
        torch.manual_seed(0)
        generator = Generator(GeneratorConfig(width, norm_statistics=statistics)).eval()
        save_generator(models[statistics].with_suffix(".safetensors"), generator)
        export_onnx(generator, models[statistics], {})
        rounded = in_int8(onnx.load(models[statistics]), portraits[:1])
        described = {entry.key: entry.value for entry in onnx.load(models[statistics]).metadata_props}
        describe(rounded, described | {"precision": "int8"})
        onnx.save(rounded, models[statistics].with_suffix(TWINS["int8"]))
    eager = DrawingGraph(plain(Generator(GeneratorConfig(width))))

    def one_by_one() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            for index in range(len(batch)):
                eager(*(torch.from_numpy(array[index : index + 1]) for array in batch.inputs().values()))
        return (time.perf_counter() - start) / len(batch)

    default = open_engine(models["running"])
    engines = [default, open_engine(models["photo"], precision=default.precision)]
    for precision in ("fp32", "int8"):
        if default.precision != precision and (precision == "fp32" or has_int8()):
            engines += [open_engine(models[statistics], precision=precision) for statistics in STATISTICS]
    names = [f"{e.name} {e.precision}, {s} statistics" for e, s in zip(engines, cycle(STATISTICS), strict=False)]
    ways: dict[str, Callable[[], float]] = {"torch eager, fp32": one_by_one}
    for name, engine in zip(names, engines, strict=True):
        ways[name] = lambda engine=engine: seconds_a_portrait(engine, portraits)
    products = {precision: MatrixProduct(precision) for precision in {"fp32", *(e.precision for e in engines)}}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, list[float]] = {precision: [] for precision in products}
    for turn in range(rounds + 1):
        peak = {precision: max(product.gflops() for _ in range(3)) for precision, product in products.items()}
        found = {name: way() for name, way in ways.items()}
        if turn:  # the first warms up
            for precision, value in peak.items():
                peaks[precision].append(value)
            for name, value in found.items():
                seconds[name].append(value)
    for engine in engines:
        engine.close()

    gflop = gflop_per_portrait(models["running"])
    told = ", ".join(f"{median(values):.0f} in {precision}" for precision, values in peaks.items())
    _tell(f"width {width}, {gflop:.0f} GFLOP a portrait; GFLOP/s of a matrix product: {told}")
    of = ["fp32", *(engine.precision for engine in engines)]
    for (name, values), precision in zip(seconds.items(), of, strict=True):
        share = gflop / median(values) / median(peaks[precision])
        _tell(f"{name}: {median(values):.3f} s ({min(values):.3f} to {max(values):.3f}), {share:.0%} of the peak")
    eagerly, running, photo = (median(seconds[name]) for name in list(seconds)[:3])
    _tell(f"the engine of a conversion against torch: {eagerly / running:.2f} x the portraits a second")
    _tell(f"a photo's own statistics against running ones: {photo / running:.2f} x the time")


def _tell(text: str) -> None:
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
