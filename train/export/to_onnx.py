"""Export to ONNX: the whole generator as one self-contained file that needs no torch to run."""

import contextlib
import copy
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from engines.atomic_files import write_atomically
from engines.errors import ModelError, first_line
from engines.model_info import FORMAT, FORMAT_VERSION
from engines.offline import import_onnxruntime
from engines.options import FilePrecision
from engines.portrait import SIZE, Image, PortraitBatch
from engines.signature import INPUTS, OUTPUT
from engines.synthetic import synthetic_portraits
from engines.twin_file import BORROWED, LENDER, joined
from train.export.half import BF16_DIFFERENCE, LARGEST_DIFFERENCE, HalfGenerator, difference_in_bf16, halved
from train.export.int8 import calibration_portraits, quantized
from train.model_file import CHECKSUM_KEY, round_to_half, weights_sha256
from train.networks.fast_layers import OneChannel
from train.networks.generator import Generator
from train.networks.graph import DrawingGraph
from train.samples import sample_portraits

OPSET: Final = 20
TOLERANCE: Final = 1
"""Grey levels by which a runtime's drawing may differ from torch's."""

HALF_TOLERANCE: Final = 4 * LARGEST_DIFFERENCE
"""The same for half precision. It is to find a wrong graph: how near the drawing comes to that in float32 is found out
before, on portraits of people too. On noise a drawing of hard edges is further from it, on either side."""


TRACED_BATCH: Final = 11
"""Size of the batch that a graph is traced with: a number that is no other size in it."""

_LARGE: Final = 1024  # values from which on storing a weight in half precision is worth a node


def export_onnx(
    generator: Generator,
    path: Path,
    metadata: Mapping[str, str],
    *,
    precision: FilePrecision = "fp32",
    half_weights: bool = False,
    calibration: Path | None = None,
    lender: Path | None = None,
) -> dict[str, str]:
    """Writes a generator as an ONNX file, once ONNX Runtime has drawn with it what torch draws.

    Its inputs and output are `engines.signature.INPUTS` and `OUTPUT` in every precision.

    Args:
        generator: the generator, on the CPU.
        path: the `.onnx` file; replaced where it exists.
        metadata: metadata of the model file; kept in the ONNX file, with what is known about the graph.
        precision: what the graph computes in. `fp32` is also tried in bfloat16, and the file tells whether that keeps
            the drawing (see `train.export.half.difference_in_bf16`). With `fp16`, as many networks do as keep the
            drawings of real and made-up portraits (see `train.export.half.halved`); torch draws those, for ONNX
            Runtime computes in float32 on a CPU and would hide an overflow. With `int8`, all convolutions do (see
            `train.export.int8.quantized`).
        half_weights: stores the convolutions' weights in float16 with a cast behind them, which runtimes
            take out when they load it. The weights are rounded first, unless they already fit: then the file
            draws exactly the same.
        calibration: a data set, for `int8`.
        lender: an ONNX file that will lie beside this one. Large weights that it holds too are left out, and engines
            take them from it (see `engines.twin_file`).

    Returns:
        The metadata as written.

    Raises:
        ModelError: ONNX Runtime draws something else, a weight does not fit float16, half precision overflows,
            a reduced precision changes the drawing, or the file cannot be written.
        DatasetError: the data set cannot be used.
        ValueError: `int8` without a data set, or a data set without `int8`.
    """
    if half_weights:
        generator = copy.deepcopy(generator)
        round_to_half(generator)
    if (precision == "int8") != (calibration is not None):
        raise ValueError("int8 needs a data set to calibrate on, and nothing else does")
    portraits = None if calibration is None else calibration_portraits(calibration)
    half = _checked_half(generator, metadata) if precision == "fp16" else None
    graph = DrawingGraph(half.generator if half else generator)
    model = _traced(graph)
    if half_weights and portraits is None:  # there are few left that are no bytes
        _store_in_half(model)
    config = generator.config
    described = {
        **metadata,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": config.to_json(),
        "norm_statistics": config.norm_statistics,
        "width": str(config.width),
        "input_size": str(SIZE),
        "precision": precision,
        CHECKSUM_KEY: weights_sha256(generator.state_dict()),
    }
    if precision == "fp32":
        described |= _checked_bf16(generator, metadata)
    if half:
        kept = "fp32 fp16" if half.complete else "fp32"
        described |= {
            "precisions": f"{metadata.get('precisions', '')} {kept}".strip(),
            "half_networks": " ".join(half.networks),
            "half_difference": f"{half.largest} at most, {half.mean:.3f} on average",
        }
    if portraits is not None:
        verify(graph, model.SerializeToString())
        in_bytes = quantized(model, *portraits)
        model = in_bytes.model
        described["int8_difference"] = f"{in_bytes.changed:.2%} of the pixels at most, {in_bytes.mean:.2f} levels"
    borrowed = {} if lender is None else _leave_out(model, lender)
    if lender is not None:
        described |= {LENDER: lender.name, BORROWED: json.dumps(borrowed, sort_keys=True)}
    describe(model, described)
    content = model.SerializeToString(deterministic=True)
    if portraits is None:
        whole = content if lender is None else joined(content, lender.read_bytes(), borrowed)
        verify(graph, whole, HALF_TOLERANCE if half else TOLERANCE)
    write_atomically(path, content)
    return described


def _checked_half(generator: Generator, metadata: Mapping[str, str]) -> HalfGenerator:
    try:
        return halved(generator, _joined(sample_portraits(), synthetic_portraits(2)))
    except ModelError as error:
        raise ModelError(f"cannot export {metadata.get('name') or 'the model'} in fp16: {error}") from error


def _checked_bf16(generator: Generator, metadata: Mapping[str, str]) -> dict[str, str]:
    """What the file tells about bfloat16: engines take it by themselves where the drawing stays the same in it."""
    difference = difference_in_bf16(generator, sample_portraits())
    listed = {*metadata.get("precisions", "").split(), "fp32"} - {"bf16"}
    if difference <= BF16_DIFFERENCE:
        listed.add("bf16")
    return {"precisions": " ".join(sorted(listed)), "bf16_difference": f"{difference:.3f} on average"}


def verify(graph: DrawingGraph, model: bytes, tolerance: int = TOLERANCE) -> None:
    """Checks that ONNX Runtime draws made-up portraits like torch, singly and in a batch.

    Raises:
        ModelError: a drawing differs by more than `tolerance` grey levels.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = synthetic_portraits(2).inputs()
    with torch.inference_mode():
        wanted = graph(*(torch.from_numpy(array) for array in inputs.values())).numpy()
    for count in (1, 2):
        found: Image = session.run([OUTPUT.name], {name: array[:count] for name, array in inputs.items()})[0]
        difference = int(np.abs(found.astype(np.int16) - wanted[:count]).max())
        if difference > tolerance:
            raise ModelError(
                f"nothing was written: ONNX Runtime's drawings of {count} differ from torch's by up to "
                f"{difference} grey levels; update torch, onnxscript and onnxruntime"
            )


def _joined(*batches: PortraitBatch) -> PortraitBatch:
    arrays = zip(*(batch.inputs().values() for batch in batches), strict=True)
    return PortraitBatch(*(np.concatenate(parts) for parts in arrays))


def _traced(graph: DrawingGraph) -> Any:
    """The graph as an onnx.ModelProto; norms stay apart from convolutions: weights keep their values."""
    import onnxscript.optimizer

    portraits = synthetic_portraits(TRACED_BATCH).inputs()
    with quiet_exporter(), torch.no_grad():  # which takes a tenth of the time off
        try:
            program = torch.onnx.export(
                settled(graph),
                tuple(torch.from_numpy(array) for array in portraits.values()),
                dynamo=True,
                input_names=[port.name for port in INPUTS],
                output_names=[OUTPUT.name],
                opset_version=OPSET,
                external_data=False,
                optimize=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ModelError(
                f"torch.onnx cannot export the generator: {first_line(error)}; update torch and onnxscript"
            ) from error
        if program is None:  # what its signature allows for the older exporter
            raise ModelError("torch.onnx exported nothing; update torch")
        onnxscript.optimizer.inline(program.model)
        onnxscript.optimizer.fold_constants(program.model)
        onnxscript.optimizer.remove_unused_nodes(program.model)
        model = program.model_proto
        free_batch(model)
        return model


def free_batch(model: Any) -> None:
    """Makes the batch size of a graph free that was traced with batches of `TRACED_BATCH`.

    To trace with a size that is a symbol takes more than twice as long, and leaves nodes that compute shapes.

    Args:
        model: the onnx.ModelProto; is changed.

    Raises:
        ModelError: the size is in it in another place than as the first of a shape.
    """
    from onnx import TensorProto, numpy_helper

    def holds(tensor: Any) -> bool:
        return tensor.data_type == TensorProto.INT64 and TRACED_BATCH in numpy_helper.to_array(tensor)

    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in filter(holds, model.graph.initializer):
        sizes = numpy_helper.to_array(tensor).copy()
        if tensor.name not in shapes or sizes[0] != TRACED_BATCH or TRACED_BATCH in sizes[1:] or -1 in sizes:
            raise ModelError(f"torch.onnx wrote the batch size into {tensor.name}; update torch and onnxscript")
        sizes[0] = -1
        tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        sizes = value.type.tensor_type.shape.dim
        if sizes and sizes[0].dim_value == TRACED_BATCH:
            sizes[0].dim_param = "batch"


def settled(graph: DrawingGraph) -> DrawingGraph:
    """A copy whose weights are those of its layers' kernels: how they come about need not be traced."""
    graph = copy.deepcopy(graph)
    for layer in graph.modules():
        if isinstance(layer, OneChannel):
            layer.settle()
    return graph


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keeps the exporter's remarks about its own workings off the terminal; its errors still raise."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _store_in_half(model: Any) -> None:
    """Replaces large float32 weights that float16 can hold exactly, each with a cast back behind it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or math.prod(weight.dims) < _LARGE:
            continue
        values = numpy_helper.to_array(weight)
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _leave_out(model: Any, lender: Path) -> dict[str, str]:
    """Takes large weights out of a model that another file holds too.

    Returns:
        By the names of those weights, their names in the other file.
    """
    import onnx
    from onnx import numpy_helper

    def content(weight: Any) -> tuple[int, tuple[int, ...], bytes]:
        return weight.data_type, tuple(weight.dims), numpy_helper.to_array(weight).tobytes()

    there = {content(weight): weight.name for weight in onnx.load(lender).graph.initializer}
    large = [weight for weight in model.graph.initializer if math.prod(weight.dims) >= _LARGE]
    borrowed = {weight.name: there[content(weight)] for weight in large if content(weight) in there}
    kept = [weight for weight in model.graph.initializer if weight.name not in borrowed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return borrowed


def describe(model: Any, metadata: Mapping[str, str]) -> None:
    """Sets an ONNX model's metadata, and takes out the exporter's notes, which name files of this machine.

    Args:
        model: an `onnx.ModelProto`, changed in place.
        metadata: everything that it will tell about itself.
    """
    graph = model.graph
    ports = (*graph.input, *graph.output, *graph.value_info)
    for part in (model, graph, *graph.node, *graph.initializer, *ports):
        del part.metadata_props[:]
        part.doc_string = ""
    model.producer_name = "apdraw"
    model.producer_version = ""
    for key in sorted(metadata):
        model.metadata_props.add(key=key, value=metadata[key])
