"""The `openvino` backend: compiles an ONNX generator for the CPU. It comes with the base install."""

from queue import SimpleQueue
from typing import Any, Final

import numpy as np

from engines.base import Backend, EngineRequest, EngineStatus
from engines.errors import EngineError, first_line
from engines.machine_faults import machine_fault
from engines.model_info import ModelInfo
from engines.openvino_library import open_core, reason_of
from engines.portrait import Image, PortraitBatch
from engines.signature import Port, check_batch, check_signature
from engines.tensorrt.cuda import Gpu

NAME: Final = "openvino"
INSTALL: Final = "python -m pip install openvino"

REQUESTS: Final = 2
"""Calls in flight: while one is copied in and out, the other keeps the cores busy."""


def status(gpus: tuple[Gpu, ...]) -> EngineStatus:
    """Tells whether OpenVINO can be imported; `gpus` make no difference to it."""
    del gpus
    try:
        import openvino
    except (ImportError, OSError) as error:
        return EngineStatus(NAME, False, None, (), f"openvino cannot be imported: {first_line(error)}", INSTALL)
    version = openvino.__version__.split("-")[0]
    return EngineStatus(NAME, True, version, ("cpu",))


class OpenVinoEngine:
    """An ONNX generator compiled by OpenVINO for the CPU. See `Engine`.

    Args:
        request: what to open. Of a graph in int8 the precision is `int8`, of others `fp32` or `bf16`: there `auto` is
            bf16 where the processor computes in it and the model is known to keep its drawings in it, else fp32.
            Portraits are drawn one after another whatever the batch size, which is 1 unless asked otherwise.

    Raises:
        EngineError: OpenVINO cannot load the model, or the CPU lacks the precision.
        ModelFileError: the graph is not a portrait generator.
    """

    name = NAME

    def __init__(self, request: EngineRequest) -> None:
        model, precision = request.model, request.precision
        core, capabilities = open_core()
        chosen = _choose_precision(precision, request.info, capabilities)
        self.device = request.device
        self.batch_size = request.batch_size or 1
        self.concurrency = REQUESTS
        config = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "PERFORMANCE_HINT_NUM_REQUESTS": self.concurrency,
            "NUM_STREAMS": self.concurrency,
            # Pinned threads of two processes on one machine would share the same few cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            network = core.read_model(model)
            check_signature(model, _ports(network.inputs), _ports(network.outputs))
            if chosen == "bf16" and not _take_whole_landmarks(network):
                if precision != "auto":
                    raise EngineError(
                        f"openvino cannot draw {model} in bf16: the regions would lose their exact place; "
                        f"use --precision fp32, or export the model again"
                    )
                chosen = "fp32"
            # One portrait at a time: in a graph whose sizes are all known OpenVINO joins more operations, and what it
            # keeps in between fits the caches better. A batch side by side takes a fifth longer for each.
            network.reshape({port: [1, *list(port.partial_shape)[1:]] for port in network.inputs})
            config["INFERENCE_PRECISION_HINT"] = "bf16" if chosen == "bf16" else "f32"
            compiled = core.compile_model(network, "CPU", config)
            requests = [compiled.create_infer_request() for _ in range(self.concurrency)]
        except (RuntimeError, ValueError) as error:  # ValueError: text in the file that is no UTF-8
            reason = machine_fault(error) or f"{reason_of(error)}; is the file whole?"
            raise EngineError(f"openvino cannot load {model}: {reason}") from error
        self.precision = chosen
        self._model = model
        self._free: SimpleQueue[Any] = SimpleQueue()
        for request in requests:
            self._free.put(request)

    def draw(self, batch: PortraitBatch) -> Image:
        """Draws a batch; see `Engine.draw`."""
        inputs = check_batch(batch)
        if self.precision == "bf16":
            inputs["landmarks"] = np.rint(inputs["landmarks"]).astype(np.int32)
        request = self._free.get()
        try:
            if request is None:
                raise EngineError(f"the openvino engine with {self._model} is closed; open it again")
            # The results are copies, so the request is free for the next portrait at once.
            drawings = [
                request.infer(
                    {name: array[i : i + 1] for name, array in inputs.items()}, share_inputs=True, share_outputs=False
                )["drawing"]
                for i in range(len(batch))
            ]
        except (RuntimeError, MemoryError) as error:
            reason = machine_fault(error) or f"{reason_of(error)}; try a smaller --batch-size"
            raise EngineError(f"openvino failed on a batch of {len(batch)}: {reason}") from error
        finally:
            self._free.put(request)
        return np.concatenate(drawings)

    def close(self) -> None:
        """Waits for the calls in flight and frees the model."""
        for _ in range(self.concurrency):
            if self._free.get() is None:  # closed already
                break
        self._free.put(None)  # passed on from call to call


def _choose_precision(asked: str, info: ModelInfo, capabilities: list[str]) -> str:
    if info.precision == "int8":
        if asked not in ("auto", "int8"):
            raise EngineError(f"openvino cannot draw a graph of int8 in {asked}: name the file that it was made of")
        return "int8"
    if asked == "fp16":
        raise EngineError("openvino cannot draw in fp16 on a CPU: use --precision fp32 or bf16")
    if asked == "bf16" and "BF16" not in capabilities:
        raise EngineError("openvino cannot draw in bf16: this CPU does not compute in it; use --precision fp32")
    if asked == "auto":
        return "bf16" if "BF16" in capabilities and "bf16" in info.precisions else "fp32"
    return asked


def _take_whole_landmarks(network: Any) -> bool:
    """Makes a loaded graph take its landmarks rounded, as int32, where it rounds them first of all.

    OpenVINO keeps every float between two convolutions in bf16, in which whole numbers over 256 are not exact:
    rounded landmarks would move the local regions by pixels.

    Returns:
        False, with the graph as it was, if that does not keep all coordinates whole.
    """
    import openvino as ov

    landmarks = network.input("landmarks")
    path = [landmarks.get_node()]
    for kind in ("Round", "Convert"):
        users = [user.get_node() for user in path[-1].output(0).get_target_inputs()]
        if [user.get_type_name() for user in users] != [kind]:
            return False
        path += users
    rounded = path[-1].output(0)
    if rounded.element_type != ov.Type.i32 or not _stays_whole(rounded):
        return False
    whole = ov.op.Parameter(ov.Type.i32, landmarks.partial_shape)
    whole.output(0).get_tensor().set_names({"landmarks"})
    rounded.replace(whole.output(0))
    network.remove_parameter(path[0])
    network.add_parameters([whole])
    network.validate_nodes_and_infer_types()
    return True


def _stays_whole(integers: Any) -> bool:
    """Whether nothing computed from a tensor of integers is a float, up to where it is compared or used as indices."""
    pending, seen = [integers], set()
    while pending:
        for user in pending.pop().get_target_inputs():
            node = user.get_node()
            is_index = node.get_type_name().startswith("Gather") and user.get_index() == 1
            if node.get_friendly_name() in seen or node.get_type_name() == "ShapeOf" or is_index:
                continue
            seen.add(node.get_friendly_name())
            if any(output.element_type.is_real() for output in node.outputs()):
                return False
            pending += [output for output in node.outputs() if output.element_type.get_type_name() != "boolean"]
    return True


def _ports(nodes: Any) -> list[Port]:
    """Inputs or outputs of an OpenVINO model as `Port`s."""
    ports = []
    for node in nodes:
        shape = node.partial_shape
        sizes = () if shape.rank.is_dynamic else (None if s.is_dynamic else s.get_length() for s in shape)
        ports.append(Port(node.any_name, str(node.element_type.to_dtype()), tuple(sizes)))
    return ports


BACKEND: Final = Backend(
    name=NAME,
    suffixes=(".onnx",),
    devices=("cpu",),
    precisions=("fp32", "bf16", "int8"),
    status=status,
    open=OpenVinoEngine,
    int8_by_default=True,
)
