"""The loop of every stage, on Lightning Fabric: one device or many, and a run that goes on where it stopped.

Everything random is a function of the seed and of where the run is (step, epoch, pair, process), so a run that was
stopped and resumed computes what an unbroken one would have.
"""

import dataclasses
import hashlib
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader, default_collate

from engines.atomic_files import write_atomically
from engines.errors import CheckpointError, DatasetError, OptionsError, TrainingError
from train.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from train.data.pairs import PortraitPairs
from train.lines import save_detectors
from train.networks.norm import freeze_norms, measure_norms
from train.options import TrainOptions, changed, to_toml
from train.run_log import Metrics
from train.sampler import PairOrder
from train.stages import AdversarialStage, Stage, make_stage
from train.starting_weights import RESULTS, Inputs, Pairs, load_inputs, shown_pairs, training_pairs

SHOWN: Final = 4
"""Portraits in a picture of how the run goes."""

MEASURED: Final = 64
"""Portraits whose statistics frozen norms are given."""

GRACE: Final = 30
"""Seconds for which reading processes go on after SIGTERM."""


class Interrupted(Exception):  # noqa: N818  # no error: the user's wish
    """The run was asked to stop, and saved a checkpoint first.

    Attributes:
        step: of that checkpoint.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


class Listener(Protocol):
    """Is told how a run goes; on the first process only."""

    def begun(self, step: int, steps: int) -> None:
        """The run starts, or goes on, at `step`."""

    def stepped(self, step: int, losses: dict[str, float]) -> None:
        """A step was logged."""


def train(
    inputs: Inputs, run: Path, options: TrainOptions, *, resume: bool = False, listener: Listener | None = None
) -> Path | None:
    """Runs a stage.

    Args:
        inputs: what is learnt from.
        run: folder for `config.toml`, `metrics.jsonl`, TensorBoard events, pictures, checkpoints and the result, and a
            copy of the line detectors.
        options: of the run.
        resume: go on from the newest checkpoint, with the same line detectors.
        listener: is told how it goes.

    Returns:
        The result's file (`RESULTS`) on the first process, None on others.

    Raises:
        OptionsError: options or inputs that do not fit each other or the checkpoint.
        DatasetError: the data set, or a pair of it, cannot be used.
        ModelError: weights to start from cannot be used.
        CheckpointError: there is none to go on from, or it cannot be written.
        TrainingError: a loss is no number, memory or disk is full, a process died.
        Interrupted: SIGTERM or Ctrl-C; a checkpoint was saved.
    """
    pairs = training_pairs(inputs.dataset, options)
    if resume and inputs.lines is None and (run / RESULTS["auxiliary"]).exists():
        inputs = dataclasses.replace(inputs, lines=run)  # the copy that the run keeps
    detectors, start = load_inputs(inputs, options, resume=resume)
    if _is_first() and not resume and checkpoints(run):
        raise OptionsError(f"{run} holds a run already: go on with --resume, or name another folder")
    state = load_checkpoint(run) if resume else None
    fabric = make_fabric(options)
    together = options.batch_size * fabric.world_size
    if len(pairs) < together:
        raise DatasetError(
            f"{inputs.dataset} holds {len(pairs)} portraits to train on, fewer than one step of {together}: "
            "prepare more, or lower the batch size"
        )
    fingerprint = hashlib.sha256("\n".join([*pairs.names, str(together)]).encode()).hexdigest()
    if state:
        _check_state(state, options, fingerprint)
    total = options.steps or options.epochs * (len(pairs) // together)
    torch.manual_seed(options.seed)
    stage = make_stage(fabric, options, detectors, start)
    done = _restore(fabric, stage, state) if state else 0
    if options.frozen_norms and isinstance(stage, AdversarialStage) and isinstance(pairs, PortraitPairs):
        if not state:
            some = (pairs[index] for index in range(min(MEASURED, len(pairs))))
            measure_norms(stage.generator, ((pair.photo, pair.landmarks, pair.mask) for pair in some))
        freeze_norms(stage.generator)
    order = PairOrder(len(pairs), options.batch_size, options.seed, done, total, fabric.global_rank, fabric.world_size)
    if fabric.is_global_zero and detectors is not None:
        run.mkdir(parents=True, exist_ok=True)
        save_detectors(run / RESULTS["auxiliary"], detectors)
    loop = _Loop(fabric, stage, options, inputs.dataset, run, total, fingerprint, listener)
    with _translated_errors(options):
        loop.go(pairs, order, done)
        return loop.finish(run / RESULTS[options.stage])


def make_fabric(options: TrainOptions) -> Fabric:
    """The devices of a run, launched; under torchrun those that it says."""
    devices, nodes = options.devices, options.nodes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    precision = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[options.precision]
    try:
        fabric = Fabric(
            accelerator=options.device,
            devices=devices,
            num_nodes=nodes,
            strategy="ddp" if devices * nodes > 1 else "auto",
            precision=precision,
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise OptionsError(
            f"cannot train on {devices} x {options.device}: {reason}; see --device and --set devices=N"
        ) from error
    return fabric


def learning_rate(options: TrainOptions, step: int, total: int) -> float:
    """The learning rate of a step, counted from 0: constant, then falling to zero over the last `lr_decay`."""
    if not options.lr_decay:
        return options.lr
    return options.lr * min(1.0, (1 - step / total) / options.lr_decay)


class _Loop:
    """What happens around the steps."""

    def __init__(
        self,
        fabric: Fabric,
        stage: Stage,
        options: TrainOptions,
        dataset: Path,
        run: Path,
        total: int,
        fingerprint: str,
        listener: Listener | None,
    ) -> None:
        self._fabric, self._stage, self._options = fabric, stage, options
        self._dataset, self._run = dataset, run
        self._total, self._fingerprint = total, fingerprint
        self._first = fabric.is_global_zero
        self._listener = listener if self._first else None

    def go(self, pairs: Pairs, order: PairOrder, done: int) -> None:
        """Trains from step `done` to the end, unless stopped."""
        options = self._options
        metrics = None
        if self._first:
            self._run.mkdir(parents=True, exist_ok=True)
            write_atomically(self._run / "config.toml", to_toml(options).encode())
            metrics = Metrics(self._run, done)
            example = self._example()
        if self._listener:
            self._listener.begun(done, self._total)
        loader = self._fabric.setup_dataloaders(
            DataLoader(
                pairs,
                batch_sampler=order,
                num_workers=options.workers,
                prefetch_factor=2 if options.workers else None,
                pin_memory=self._fabric.device.type == "cuda",
                worker_init_fn=_step_aside,
            ),
            use_distributed_sampler=False,
        )
        saved, step, logged, since = done, done, done, time.monotonic()
        try:
            with _stop_signals() as stop:
                for step, batch in enumerate(loader, start=done + 1):
                    losses = self._step(batch, step)
                    if metrics and (step % options.log_every == 0 or step == self._total):
                        now = time.monotonic()
                        images = (step - logged) * options.batch_size * self._fabric.world_size
                        values = {name: round(value, 6) for name, value in losses.items()}
                        lr = learning_rate(options, step - 1, self._total)
                        extra = {"epoch": (step - 1) // order.steps_per_epoch, "lr": lr}
                        metrics.write(step, values | extra | {"images_per_second": round(images / (now - since), 3)})
                        logged, since = step, now
                    if metrics and (step % options.picture_every == 0 or step == self._total):
                        metrics.picture(step, self._stage.picture(example))
                    if self._listener:
                        self._listener.stepped(step, losses)
                    stopped = self._any(stop)
                    if stopped or step % options.save_every == 0 or step == self._total:
                        self._save(step)
                        saved = step
                    if stopped and step < self._total:
                        raise Interrupted(step)
        finally:
            if metrics:
                metrics.close()
        if self._total > saved:
            raise TrainingError(f"the run ended at step {step} of {self._total}: go on with --resume")

    def finish(self, path: Path) -> Path | None:
        """Writes the result, with a description of how it was made."""
        if not self._first:
            return None
        options = self._options
        metadata = {
            "name": options.name,
            "licence": options.licence,
            "training_data": options.training_data,
            "provenance": "apdraw train: " + ", ".join(to_toml(options).splitlines()),
        }
        self._stage.save(path, metadata)
        return path

    def _step(self, batch: Any, step: int) -> dict[str, float]:
        options = self._options
        # Dropout's noise, too, depends on nothing but the place in the run.
        place = np.random.SeedSequence((options.seed, step, self._fabric.global_rank))
        torch.manual_seed(int(place.generate_state(1)[0]))
        lr = learning_rate(options, step - 1, self._total)
        for optimiser in self._stage.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = lr
        losses = self._stage.step(batch)
        values = torch.stack([loss.float() for loss in losses.values()]).tolist()
        for name, value in zip(losses, values, strict=True):
            if not math.isfinite(value):
                last = checkpoints(self._run)
                kept = f"{last[-1]} is kept" if last else "there is no checkpoint yet"
                raise TrainingError(
                    f"the loss {name} is {value} at step {step}; {kept}: lower --lr, or train with --set precision=fp32"
                )
        return dict(zip(losses, values, strict=True))

    def _example(self) -> Any:
        """The pairs whose drawings are shown: always the same, of those put aside if there are any."""
        shown = shown_pairs(self._dataset, self._options)
        return self._fabric.to_device(default_collate([shown[i] for i in range(min(SHOWN, len(shown)))]))

    def _save(self, step: int) -> None:
        failed: CheckpointError | None = None
        if self._first:
            try:
                save_checkpoint(self._run, step, self._state(step), self._options.keep)
            except CheckpointError as error:
                failed = error
        if self._fabric.world_size > 1 and self._fabric.broadcast(failed is not None):
            raise failed or TrainingError("the first process could not write a checkpoint")
        if failed:
            raise failed

    def _state(self, step: int) -> dict[str, Any]:
        stage = self._stage
        return {
            "step": step,
            "options": dataclasses.asdict(self._options),
            "fingerprint": self._fingerprint,
            "networks": {name: network.state_dict() for name, network in stage.networks.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in stage.optimisers.items()},
            "precision": self._fabric.strategy.precision.state_dict(),
        }

    def _any(self, stop: list[int]) -> bool:
        if self._fabric.world_size == 1:
            return bool(stop)
        return self._fabric.strategy.reduce_boolean_decision(bool(stop), all=False)  # type: ignore[no-any-return]


def _check_state(state: dict[str, Any], options: TrainOptions, fingerprint: str) -> None:
    reason = changed(state["options"], options)
    if reason is None and state["fingerprint"] != fingerprint:
        reason = "its portraits, or the number of pairs in a step, were others"
    if reason:
        raise OptionsError(f"the run cannot go on: {reason}; use what it was begun with, or begin in another folder")


def _restore(fabric: Fabric, stage: Stage, state: dict[str, Any]) -> int:
    for name, network in stage.networks.items():
        network.load_state_dict(state["networks"][name])
    for name, optimiser in stage.optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
    fabric.strategy.precision.load_state_dict(state["precision"])
    return int(state["step"])


def _is_first() -> bool:
    """Whether this is the first of a run's processes, told before they are launched."""
    return not any(int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def _step_aside(_: int) -> None:
    """Lets a process that reads pairs outlive Ctrl-C and SIGTERM, until the one that trains has saved and ends it.

    Whoever stops a whole job, as a cluster does, signals all its processes. After `GRACE` seconds SIGTERM is obeyed:
    Python, too, ends its processes by it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """The signals that asked to stop so far; a second Ctrl-C is not waited for."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _translated_errors(options: TrainOptions) -> Iterator[None]:
    """Turns what torch and the system raise into one line."""
    try:
        yield
    except DatasetError as error:
        # From a reading process it carries a traceback, whose last line is the message.
        raise DatasetError(
            str(error).rstrip().splitlines()[-1].removeprefix(f"{DatasetError.__module__}.DatasetError: ")
        ) from error
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"GPU memory is full at batch size {options.batch_size}: lower --batch-size or --width, or use "
            "--set precision=bf16, and go on with --resume"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"cannot go on: {error.strerror or error} ({error.filename or 'no file named'}); "
            "the checkpoints are kept: make room, then go on with --resume"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a process that reads pairs was killed (memory full?): lower --set workers=N, and go on with --resume"
        ) from error
