"""The state of a run from which it goes on exactly: what is in it, whether it fits, how it is taken up and saved."""

import dataclasses
from pathlib import Path
from typing import Any

from engines.errors import CheckpointError, OptionsError, TrainingError
from train.checkpoint import save_checkpoint
from train.devices import Fabric
from train.options import TrainOptions, changed
from train.stages import Stage


def state_of(fabric: Fabric, stage: Stage, step: int, options: TrainOptions, fingerprint: str) -> dict[str, Any]:
    """All that a run needs to go on from a step."""
    return {
        "step": step,
        "options": dataclasses.asdict(options),
        "fingerprint": fingerprint,
        "networks": {name: network.state_dict() for name, network in stage.networks.items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in stage.optimisers.items()},
        "precision": fabric.strategy.precision.state_dict(),
    }


def restore(fabric: Fabric, stage: Stage, state: dict[str, Any]) -> int:
    """Takes up a state; returns its step."""
    for name, network in stage.networks.items():
        network.load_state_dict(state["networks"][name])
    for name, optimiser in stage.optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
    fabric.strategy.precision.load_state_dict(state["precision"])
    return int(state["step"])


def check_state(state: dict[str, Any], options: TrainOptions, fingerprint: str) -> None:
    """Refuses a state that options, or pairs, do not fit.

    Raises:
        OptionsError: a run from this state would not be the one that was begun.
    """
    reason = changed(state["options"], options)
    if reason is None and state["fingerprint"] != fingerprint:
        reason = "its portraits, or the number of pairs in a step, were others"
    if reason:
        raise OptionsError(f"the run cannot go on: {reason}; use what it was begun with, or begin in another folder")


def save_state(fabric: Fabric, run: Path, state: dict[str, Any], keep: int) -> None:
    """Writes a checkpoint on the first process; where it fails, all processes end.

    Raises:
        CheckpointError: it cannot be written.
        TrainingError: the same, on another process.
    """
    failed: CheckpointError | None = None
    if fabric.is_global_zero:
        try:
            save_checkpoint(run, state["step"], state, keep)
        except CheckpointError as error:
            failed = error
    if fabric.world_size > 1 and fabric.broadcast(failed is not None):
        raise failed or TrainingError("the first process could not write a checkpoint")
    if failed:
        raise failed
