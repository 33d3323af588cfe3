"""Compiles an ONNX graph with TensorRT or TensorRT for RTX: all calls of their builder are here.

Networks are strongly typed: each layer computes in the type that the graph gives it, so a graph in half precision makes
an engine in half precision, and no option does.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engines.errors import EngineError, ModelFileError, first_line
from engines.regular_files import read_regular
from engines.signature import INPUTS, Port, check_signature
from engines.tensorrt.library import log_of

ProgressCallback = Callable[[int, int], None]
"""Told how many steps of how many are done; called from other threads too, one at a time."""

STEPS: Final = 100
"""Steps of a build: TensorRT finds out on the way how many it really has."""

_DTYPES: Final = {"UINT8": "uint8", "FLOAT": "float32", "HALF": "float16"}

_FAILURES: Final = (RuntimeError, TypeError, ValueError, MemoryError)  # what the bindings raise


@dataclass(frozen=True)
class Settings:
    """How a graph is compiled.

    Attributes:
        batch_size: the largest batch, and the one to be fast with.
        compute_capabilities: kinds of GPU to compile for, with TensorRT for RTX; else empty: the current GPU.
        workspace_mib: GPU memory for intermediate results, in MiB; None for all there is.
        optimization_level: 0 to 5; None for TensorRT's own choice.
        timing_cache: what an earlier build measured; empty to start one, None to keep none.
    """

    batch_size: int
    compute_capabilities: tuple[str, ...] = ()
    workspace_mib: int | None = None
    optimization_level: int | None = None
    timing_cache: bytes | None = None


@dataclass(frozen=True)
class Plan:
    """A compiled graph.

    Attributes:
        content: content of the engine file.
        layers: see `engines.tensorrt.sidecar.Sidecar.layers`.
        timing_cache: what was measured, for the next build; None if none was to be kept.
    """

    content: bytes
    layers: dict[str, int]
    timing_cache: bytes | None


def compile_graph(
    library: Any, onnx: Path, settings: Settings, progress: ProgressCallback, cancelled: threading.Event
) -> Plan | None:
    """Compiles a graph.

    Args:
        library: the module `tensorrt` or `tensorrt_rtx`.
        onnx: the graph.
        settings: batch size, GPUs and limits.
        progress: is called with the steps that are done.
        cancelled: once set, the build stops as soon as TensorRT asks whether to go on.

    Returns:
        None if it was cancelled.

    Raises:
        ModelFileError: TensorRT cannot read the graph, or it is no portrait generator.
        EngineError: TensorRT cannot compile it here.
    """
    log = log_of(library)
    try:
        builder = _checked(library.Builder(log), log, "start its builder")
        strongly_typed = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = _checked(builder.create_network(strongly_typed), log, "start a network")
        parser = library.OnnxParser(network, log)
        _parse(parser, onnx, log)
        check_signature(onnx, *_ports(network))
        layers = _layers(network)
        config = _configured(library, builder, settings, log)
        monitor = config.progress_monitor = _new_monitor(library, progress, cancelled)
        serialized = builder.build_serialized_network(network, config)
        if cancelled.is_set():
            log.forget()  # TensorRT tells of it as an error
            return None
        content = bytes(_checked(serialized, log, f"compile {onnx}"))
        measured = None
        if settings.timing_cache is not None:
            cache = _checked(config.get_timing_cache(), log, "keep its timing cache")
            measured = bytes(_checked(cache.serialize(), log, "keep its timing cache"))
        del monitor, parser  # both had to outlive the build: the network keeps using what the parser read
    except _FAILURES as error:
        said = " ".join(log.take()) or first_line(error)
        raise EngineError(f"tensorrt cannot compile {onnx}: {said}; see: apdraw doctor") from error
    return Plan(content, layers, measured)


def inspect(library: Any, content: bytes) -> dict[str, int]:
    """Counts the outputs of an engine's layers by data type, as its inspector tells them.

    Args:
        library: the module `tensorrt` or `tensorrt_rtx`.
        content: content of an engine file; the current GPU must be one that it was built for.

    Returns:
        Nothing where the inspector does not tell them.

    Raises:
        EngineError: TensorRT cannot load what it has compiled.
    """
    log = log_of(library)
    try:
        runtime = _checked(library.Runtime(log), log, "start its runtime")
        loaded = _checked(runtime.deserialize_cuda_engine(content), log, "load the engine that it has built")
        inspector = _checked(loaded.create_engine_inspector(), log, "inspect the engine that it has built")
        text = inspector.get_engine_information(library.LayerInformationFormat.JSON)
        return count_types(text)
    except _FAILURES as error:
        raise EngineError(
            f"tensorrt cannot inspect the engine that it has built: {first_line(error)}; see: apdraw doctor"
        ) from error


def count_types(text: str) -> dict[str, int]:
    """Counts data types in what an engine inspector tells as JSON: `FLOAT` and `HALF` outputs of layers."""
    try:
        layers = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return {}
    counts: Counter[str] = Counter()
    for described in layers:
        outputs = described.get("Outputs", []) if isinstance(described, dict) else []  # only names without details
        for output in outputs:
            written = str(output.get("Format/Datatype") or output.get("Datatype") or "")
            if re.search(r"\b(half|fp16|float16)\b", written, re.IGNORECASE):
                counts["HALF"] += 1
            elif re.search(r"\b(float|fp32|float32)\b", written, re.IGNORECASE):
                counts["FLOAT"] += 1
    return dict(counts)


def _parse(parser: Any, onnx: Path, log: Any) -> None:
    if parser.parse(read_regular(onnx)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = []
    for error in errors:
        node = f"the {error.node_operator()} node {error.node_name()}: " if error.node_operator() else ""
        told.append(f"{node}{first_line(ValueError(error.desc()))}")
    reason = "; ".join(dict.fromkeys(told)) or " ".join(log.take()) or "it did not say why"
    raise ModelFileError(f"tensorrt cannot read {onnx}: {reason}; export it again with: apdraw export MODEL OUT.onnx")


def _ports(network: Any) -> tuple[list[Port], list[Port]]:
    def port(tensor: Any) -> Port:
        sizes = tuple(None if size < 0 else int(size) for size in tensor.shape)
        return Port(tensor.name, _DTYPES.get(tensor.dtype.name, tensor.dtype.name), sizes)

    inputs = [port(network.get_input(index)) for index in range(network.num_inputs)]
    return inputs, [port(network.get_output(index)) for index in range(network.num_outputs)]


def _layers(network: Any) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if layer.num_outputs:
            kind, dtype = layer.type.name, layer.get_output(0).dtype.name
            counts[dtype] += 1
            if kind in ("CONVOLUTION", "DECONVOLUTION"):
                counts[f"CONVOLUTION {dtype}"] += 1
    return dict(sorted(counts.items()))


def _configured(library: Any, builder: Any, settings: Settings, log: Any) -> Any:
    config = _checked(builder.create_builder_config(), log, "configure its builder")
    config.clear_flag(library.BuilderFlag.TF32)  # it would keep 10 of the 23 bits of float32
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED  # so that the inspector can tell of types
    if settings.workspace_mib is not None:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    if settings.timing_cache is not None:
        cache = _checked(config.create_timing_cache(settings.timing_cache), log, "read the timing cache")
        _checked(config.set_timing_cache(cache, False), log, "use the timing cache, made with another TensorRT or GPU")
    if settings.compute_capabilities:
        config.num_compute_capabilities = len(settings.compute_capabilities)
        for index, capability in enumerate(settings.compute_capabilities):
            kind = library.ComputeCapability.__members__[f"SM{capability.replace('.', '')}"]
            _checked(config.set_compute_capability(kind, index), log, f"compile for GPUs of {capability}")
    profile = _checked(builder.create_optimization_profile(), log, "make a profile")
    for port in INPUTS:
        least, most = (1, *port.shape[1:]), (settings.batch_size, *port.shape[1:])
        profile.set_shape(port.name, least, most, most)
    _checked(config.add_optimization_profile(profile), log, "use batches of this size")
    return config


def _checked(result: Any, log: Any, what: str) -> Any:
    """A call's result, unless it tells of a failure: None, False or a negative number."""
    if result is None or result is False or (isinstance(result, int) and result < 0):
        said = " ".join(log.take()) or "it did not say why"
        raise EngineError(f"tensorrt cannot {what}: {said}; see: apdraw doctor")
    log.forget()
    return result


def _new_monitor(library: Any, progress: ProgressCallback, cancelled: threading.Event) -> Any:
    """An `IProgressMonitor` for a build; TensorRT calls it from several threads."""

    class Monitor(library.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)
            self._phases: dict[str, _Phase] = {}
            self._told = 0
            self._turn = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._turn:
                self._phases[phase_name] = _Phase(self._phases.get(parent_phase or ""), max(num_steps, 1))

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._turn:
                if phase_name in self._phases:
                    self._phases[phase_name].done = step + 1
                    self._tell(phase_name)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            with self._turn:
                if phase_name in self._phases:
                    self._phases[phase_name].done = self._phases[phase_name].steps
                    self._tell(phase_name)
                    del self._phases[phase_name]

        def _tell(self, phase_name: str) -> None:
            done = min(STEPS - 1, int(STEPS * self._phases[phase_name].reached()))  # the plan is not at hand yet
            if done > self._told and not cancelled.is_set():  # a phase may come twice in one step of its parent
                self._told = done
                progress(done, STEPS)

    return Monitor()


class _Phase:
    """A phase of a build: some steps, which fill one step of the phase around it."""

    def __init__(self, parent: "_Phase | None", steps: int) -> None:
        self._parent = parent
        self.steps = steps
        self.done = 0

    def reached(self) -> float:
        """The share of the whole build that is done."""
        share = 0.0
        for phase in self._with_parents():
            share = min(1.0, (phase.done + share) / phase.steps)
        return share

    def _with_parents(self) -> Iterator["_Phase"]:
        phase: _Phase | None = self
        while phase is not None:
            yield phase
            phase = phase._parent
