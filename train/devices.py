"""The devices and processes of a run, by Lightning Fabric."""

import os
import sys
import warnings

import torch

from engines.errors import OptionsError, first_line
from train.options import TrainOptions

# Fabric asks torchmetrics for its version alone, and would load half of SciPy with it, for 2 seconds.
_loaded = sys.modules.setdefault("torchmetrics", None)  # type: ignore[arg-type]
try:
    from lightning_fabric import Fabric as Fabric
finally:
    if _loaded is None:
        del sys.modules["torchmetrics"]


def make_fabric(options: TrainOptions) -> Fabric:
    """The devices of a run, launched; under torchrun those that it names."""
    devices, nodes = options.devices, options.nodes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    precision = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[options.precision]
    try:
        with warnings.catch_warnings():
            # Where Slurm is installed, srun would be advised for every run, which starts its processes well without.
            warnings.filterwarnings("ignore", "The `srun` command is available")
            fabric = Fabric(
                accelerator=options.device,
                devices=devices,
                num_nodes=nodes,
                strategy="ddp" if devices * nodes > 1 else "auto",
                precision=precision,
            )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        remedy = "see --device and --set devices=N"
        if nodes > 1:
            remedy = "set GLOO_SOCKET_IFNAME, or NCCL_SOCKET_IFNAME for GPUs, to the network between the machines"
        told = first_line(error)
        raise OptionsError(f"cannot train on {devices * nodes} x {options.device}: {told}; {remedy}") from error
    torch.backends.cudnn.benchmark = True  # batches are of one size: trying its algorithms at first pays later
    return fabric


def on_any_process(fabric: Fabric, here: bool) -> bool:
    """Whether something holds on at least one process of a run."""
    if fabric.world_size == 1:
        return here
    return fabric.strategy.reduce_boolean_decision(here, all=False)  # type: ignore[no-any-return]


def is_first_process() -> bool:
    """Whether this is the first of a run's processes, before they are launched."""
    return not any(int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
