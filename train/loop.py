"""The training loop of every stage, on Lightning Fabric: one device or many, and exact resume.

Everything random is a function of the seed and the place in the run (step, epoch, pair, process), so a run that was
stopped and resumed computes what an unbroken one would have.
"""

import dataclasses
import hashlib
import logging
import math
import pickle
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from engines.atomic_files import write_atomically
from engines.errors import DatasetError, OptionsError, TrainingError
from train.checkpoint import checkpoints, load_checkpoint
from train.data.pairs import PortraitPairs
from train.data.training import Pairs, shown_pairs, training_pairs
from train.devices import Fabric, is_first_process, make_fabric, on_any_process
from train.failures import told_in_one_line
from train.line_detectors import save_detectors
from train.networks.norm import freeze_norms, measure_norms
from train.options import TrainOptions, to_toml
from train.run_log import RunLog
from train.run_state import check_state, restore, save_state, state_of
from train.sampler import ResumableBatchSampler
from train.shared_memory import open_files_fault, shared_memory_fault
from train.stages import AdversarialStage, Stage, make_stage
from train.starting_weights import RESULTS, Inputs, load_inputs
from train.stop_signals import Interrupted, outlive_stop_signals, stop_signals

SHOWN_PORTRAITS: Final = 4
"""Portraits in a picture of how the run goes."""

NORM_PORTRAITS: Final = 64
"""Portraits on which the averages of frozen norms are measured."""

PREFETCHED: Final = 2
"""Batches that a reading process has ready."""

LONGEST_READING: Final = 600.0
"""Seconds that a batch may take a reading process; one that takes longer is stuck."""

_log = logging.getLogger(f"apdraw.{__name__}")


class TrainListener(Protocol):
    """Hears how a run goes; on the first process only."""

    def begun(self, step: int, steps: int) -> None:
        """The run starts, or goes on, at `step`."""

    def stepped(self, step: int, losses: dict[str, float]) -> None:
        """A step was made."""


def train(
    inputs: Inputs, run: Path, options: TrainOptions, *, resume: bool = False, listener: TrainListener | None = None
) -> Path | None:
    """Runs a stage.

    Args:
        inputs: pairs, weights to start from, line detectors.
        run: folder for `config.toml`, `metrics.jsonl`, TensorBoard events, pictures, checkpoints and the result, and a
            copy of the line detectors.
        options: options of the run.
        resume: go on from the newest checkpoint, with the same line detectors.
        listener: hears how it goes.

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
    if is_first_process() and not resume and checkpoints(run):
        raise OptionsError(f"{run} holds a run already: go on with --resume, or name another folder")
    state = load_checkpoint(run) if resume else None

    fabric = make_fabric(options)
    first = fabric.is_global_zero
    pairs_per_step = options.batch_size * fabric.world_size
    if len(pairs) < pairs_per_step:
        raise DatasetError(
            f"{inputs.dataset} holds {len(pairs)} portraits to train on, fewer than one step of {pairs_per_step}: "
            "prepare more, or lower the batch size"
        )
    fingerprint = hashlib.sha256("\n".join([*pairs.names, str(pairs_per_step)]).encode()).hexdigest()
    if state:
        check_state(state, options, fingerprint)
    steps = options.steps or options.epochs * (len(pairs) // pairs_per_step)

    torch.manual_seed(options.seed)
    stage = make_stage(fabric, options, detectors, start)
    done = restore(fabric, stage, state) if state else 0
    if options.frozen_norms:
        _freeze_norms(stage, pairs, measure=state is None)
    sampler = ResumableBatchSampler(
        len(pairs), options.batch_size, options.seed, done, steps, fabric.global_rank, fabric.world_size
    )
    if first:
        run.mkdir(parents=True, exist_ok=True)
        if detectors is not None:
            save_detectors(run / RESULTS["auxiliary"], detectors)

    with (
        told_in_one_line(options.batch_size, options.workers),
        stop_signals() as asked_to_stop,
        _open_log(run, done, first) as log,
    ):
        if log:
            write_atomically(run / "config.toml", to_toml(options).encode())
            example = _example(fabric, shown_pairs(inputs.dataset, options))
            if listener:
                listener.begun(done, steps)
        logged, since = done, time.monotonic()

        for step, batch in enumerate(_loader(fabric, pairs, sampler, options), start=done + 1):
            lr = learning_rate(options, step - 1, steps)
            _seed(options.seed, step, fabric.global_rank)
            _set_learning_rate(stage, lr)
            losses = _checked(stage.step(batch), step, run)

            last = step == steps
            if log and (step % options.log_every == 0 or last):
                now = time.monotonic()
                speed = (step - logged) * pairs_per_step / (now - since)
                place = {"epoch": (step - 1) // sampler.steps_per_epoch, "lr": lr, "images_per_second": round(speed, 3)}
                log.write(step, {name: round(loss, 6) for name, loss in losses.items()} | place)
                logged, since = step, now
            if log and (step % options.picture_every == 0 or last):
                log.picture(step, stage.picture(example))
            if log and listener:
                listener.stepped(step, losses)
            stopped = on_any_process(fabric, bool(asked_to_stop))
            if stopped or step % options.save_every == 0 or last:
                save_state(fabric, run, state_of(fabric, stage, step, options, fingerprint), options.keep)
            if stopped and not last:
                raise Interrupted(step)

        if not first:
            return None
        stage.save(run / RESULTS[options.stage], _description(options))
        return run / RESULTS[options.stage]


def learning_rate(options: TrainOptions, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0: constant, then falling to 0 over the last `lr_decay` of the run."""
    if not options.lr_decay:
        return options.lr
    return options.lr * min(1.0, (1 - step / steps) / options.lr_decay)


def _loader(fabric: Fabric, pairs: Pairs, sampler: ResumableBatchSampler, options: TrainOptions) -> "DataLoader[Any]":
    workers = _possible_workers(fabric, pairs, options)
    loader: DataLoader[Any] = DataLoader(
        pairs,
        batch_sampler=sampler,
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        timeout=LONGEST_READING if workers else 0,
        pin_memory=fabric.device.type == "cuda",
        worker_init_fn=outlive_stop_signals,
    )
    return fabric.setup_dataloaders(loader, use_distributed_sampler=False)  # type: ignore[no-any-return]


def _possible_workers(fabric: Fabric, pairs: Pairs, options: TrainOptions) -> int:
    """The reading processes asked for, or none where they cannot hand over what they read."""
    if not options.workers:
        return 0
    batch = len(pickle.dumps(default_collate([pairs[0]]))) * options.batch_size
    fault = shared_memory_fault(batch * (PREFETCHED * options.workers + 1) * fabric.world_size) or open_files_fault()
    if fault is None:
        return options.workers
    if fabric.is_global_zero:
        _log.warning("pairs are read by the process that trains, which may be slower: %s", fault)
    return 0


def _example(fabric: Fabric, shown: Pairs) -> Any:
    """The pairs whose drawings are shown, always the same."""
    return fabric.to_device(default_collate([shown[index] for index in range(min(SHOWN_PORTRAITS, len(shown)))]))


def _freeze_norms(stage: Stage, pairs: Pairs, *, measure: bool) -> None:
    if not isinstance(stage, AdversarialStage) or not isinstance(pairs, PortraitPairs):
        return
    if measure:
        some = (pairs[index] for index in range(min(NORM_PORTRAITS, len(pairs))))
        measure_norms(stage.generator, ((pair.photo, pair.landmarks, pair.mask) for pair in some))
    freeze_norms(stage.generator)


def _seed(seed: int, step: int, rank: int) -> None:
    """Makes dropout's noise, too, a function of the place in the run."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0]))


def _set_learning_rate(stage: Stage, lr: float) -> None:
    for optimiser in stage.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = lr


def _checked(losses: dict[str, Tensor], step: int, run: Path) -> dict[str, float]:
    """The losses as numbers.

    Raises:
        TrainingError: one is none.
    """
    values = torch.stack([loss.float() for loss in losses.values()]).tolist()  # one wait for the device, not one each
    for name, value in zip(losses, values, strict=True):
        if not math.isfinite(value):
            saved = checkpoints(run)
            kept = f"{saved[-1]} is kept" if saved else "there is no checkpoint yet"
            raise TrainingError(
                f"the loss {name} is {value} at step {step}; {kept}: lower --lr, or train with --set precision=fp32"
            )
    return dict(zip(losses, values, strict=True))


def _open_log(run: Path, done: int, first: bool) -> Any:
    """A `RunLog` that is closed at the end; None on all processes but the first."""
    return closing(RunLog(run, done)) if first else nullcontext()


def _description(options: TrainOptions) -> dict[str, str]:
    """What a model file says of how it was made."""
    return {
        "name": options.name,
        "licence": options.licence,
        "training_data": options.training_data,
        "provenance": "apdraw train: " + ", ".join(to_toml(options).splitlines()),
    }
