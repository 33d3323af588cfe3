"""The conversion: a loop over what becomes of each photo, which keeps the manifest and tells the listener."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from apdraw_cli.conversion.executors.base import EngineReady, Executor
from apdraw_cli.conversion.listener import Listener
from apdraw_cli.conversion.manifest import Manifest, part
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.orphans import Orphans
from apdraw_cli.conversion.outcome import ConvertResult, Failure, Outcome, Warned
from apdraw_cli.conversion.output import remove_own_drawing
from apdraw_cli.conversion.plan import Planner, Step, same_photo
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.sources import HIDDEN_MANIFEST, PassedOver, SourceSet
from apdraw_cli.conversion.storage import below, open_storage
from apdraw_cli.conversion.watch import Watch
from engines.errors import ApdrawError, UnfitError

MOST_FAILURES: Final = 10_000
"""So many photos that were not drawn, or with warnings, are told of at the end; the manifest knows them all."""


@dataclass
class Tally:
    """What a conversion has come to so far."""

    start: float = field(default_factory=time.perf_counter)
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    drawn_by: EngineReady | None = None
    drawing_since: float = 0.0
    error: ApdrawError | None = None
    passed_over: PassedOver = field(default_factory=PassedOver)
    pruned: int = 0
    ignore_known: bool = False
    outputs: tuple[str, ...] = ()
    """Of the last photo, which may be the only one."""

    def ready(self, event: EngineReady) -> None:
        """Notes that drawing begins, and with what."""
        self.drawn_by, self.drawing_since = event, time.perf_counter()

    def add(self, outcome: Outcome) -> None:
        """Counts a photo."""
        self.counts[outcome.status] += 1
        self.outputs = outcome.outputs
        error = outcome.error
        if outcome.status == "skipped":
            self.counts["own_drawings"] += error is not None
            return
        self.counts["remembered"] += outcome.remembered
        self.counts["known"] += outcome.known
        self.counts["drawings"] += len(outcome.outputs) * (outcome.status == "done")
        self.counts["out_of_memory"] += error is not None and error.code == "out_of_memory"
        self.counts["warned"] += bool(outcome.warnings)
        if outcome.warnings and self.counts["warned"] <= MOST_FAILURES:
            source, output = outcome.source.name, outcome.outputs[0]
            self.warnings += [Warned(source, output, each.code, each.message) for each in outcome.warnings]
        ignored = self.ignore_known and outcome.known
        if error is not None and not ignored and len(self.failures) < MOST_FAILURES:
            told = (outcome.source.name, outcome.status, error.code, error.message)
            self.failures.append(Failure(*told, outcome.remembered, outcome.known))

    def check_memory(self) -> None:
        """Makes it the machine's fault if there was too little memory for every photo that was tried."""
        tried = self.counts["done"] + self.counts["no_face"] + self.counts["failed"] - self.counts["remembered"]
        if tried and self.counts["out_of_memory"] == tried:
            self.error = self.error or UnfitError(
                "there was too little memory for any photo: close other programs, or use fewer --workers"
            )

    def result(self, model: Path, sources: SourceSet, *, interrupted: bool) -> ConvertResult:
        """Sums up the conversion."""
        now, counts = time.perf_counter(), self.counts
        engine = self.drawn_by.engine if self.drawn_by else None
        return ConvertResult(
            done=counts["done"],
            skipped=counts["skipped"],
            no_face=counts["no_face"],
            failed=counts["failed"],
            remembered=counts["remembered"],
            drawings=counts["drawings"],
            seconds=now - self.start,
            photos_per_second=counts["done"] / (now - self.drawing_since) if counts["done"] else 0.0,
            engine=None if engine is None else engine.name,
            device=None if engine is None else engine.device,
            precision=None if engine is None else engine.precision,
            model=model,
            output=sources.output,
            manifest=below(sources.output, part(sources.manifest, sources.shard)),
            failures=tuple(self.failures),
            interrupted=interrupted,
            error=None if self.error is None else str(self.error),
            own_drawings=counts["own_drawings"],
            other_files=dict(self.passed_over.files.most_common()),
            drawing_folders=tuple(self.passed_over.folders[:MOST_FAILURES]),
            pruned=self.pruned,
            warned=counts["warned"],
            warnings=tuple(self.warnings),
            known=counts["known"],
            ignore_known=self.ignore_known,
            files=tuple(below(sources.output, name) for name in self.outputs * (sources.manifest == HIDDEN_MANIFEST)),
        )


def run(
    options: ConvertOptions,
    sources: SourceSet,
    model: Path,
    model_sha256: str,
    executor: Executor,
    listener: Listener,
    stop: threading.Event,
) -> ConvertResult:
    """Converts until all photos have their outcome, `stop` is set, or nothing more can be drawn.

    With the option `watch` it goes on with what arrives until `stop` is set, which is its proper end.

    Args:
        options: what was asked for.
        sources: the photos.
        model: the generator's file.
        model_sha256: its checksum, or that of the model it was built from.
        executor: draws.
        listener: is told how it goes.
        stop: ends it early; what is being drawn is finished first.

    Raises:
        UsageError: the output folder cannot be used.
    """
    tally = Tally(ignore_known=options.run.ignore_known)
    watch = Watch(sources) if options.run.watch else None
    if watch is None and (
        next(sources.photos("", several=False, passed_over=tally.passed_over), None) is None
    ):  # and leaves no empty folder behind
        return tally.result(model, sources, interrupted=False)
    output = open_storage(str(sources.output))
    with Manifest(output, sources.manifest, sources.shard) as manifest, watch or contextlib.nullcontext():
        planner = Planner(options, sources, manifest.history, model_sha256)
        tally.passed_over = planner.passed_over
        steps: Iterator[Step | None] = planner.steps() if watch is None else watch.steps(planner)
        orphans = Orphans(sources, manifest.history, several=Recipe.of(options).several)
        if options.run.prune:
            steps = orphans.noting(planner.steps(), drawn=True)
        counting: Future[int] | None = None
        counted = announced = False
        try:
            for event in executor.outcomes(steps, lambda: stop.is_set() or tally.error is not None):
                if event is not None and watch is None and not counted:
                    counting, counted = _count(sources), True  # sooner, it would delay the first
                if counting is not None and counting.done():
                    listener.counted(counting.result())
                    counting = None
                match event:
                    case Outcome():
                        if watch is None or watch.settled(event):
                            _settle(_completed(event, model_sha256, manifest), manifest, tally, listener)
                    case EngineReady(engine, workers):
                        tally.ready(event)
                        listener.engine_ready(engine, workers)
                    case None:
                        listener.waiting()
                if stop.is_set() and not announced:
                    listener.stopping()
                    announced = True
            if options.run.prune and not stop.is_set() and tally.error is None:
                tally.pruned = sum(remove_own_drawing(output, name) for name in orphans.found(output))
        except ApdrawError as error:
            tally.error = tally.error or error
    tally.check_memory()
    if watch is not None:  # ended as it has to be; and most of the time was spent waiting
        return replace(tally.result(model, sources, interrupted=False), photos_per_second=0.0)
    return tally.result(model, sources, interrupted=stop.is_set())


def _completed(outcome: Outcome, model_sha256: str, manifest: Manifest) -> Outcome:
    """An outcome with what executors do not know of it."""
    known = outcome.remembered
    if outcome.error is not None and not known:
        record = manifest.history.of(outcome.source.name)
        known = record is not None and record.code == outcome.error.code and same_photo(record, outcome.source)
    return replace(outcome, model_sha256=model_sha256, known=known)


def _settle(outcome: Outcome, manifest: Manifest, tally: Tally, listener: Listener) -> None:
    """Records an outcome; one that cannot be recorded is not counted, and ends the conversion."""
    if outcome.recorded:
        try:
            manifest.append(outcome)
        except ApdrawError as error:
            tally.error = tally.error or error
            return
    tally.add(outcome)
    listener.settled(outcome)


def _count(sources: SourceSet) -> "Future[int]":
    """Counts the photos in the background, which for a large folder takes a while."""
    number: Future[int] = Future()
    threading.Thread(target=lambda: number.set_result(sources.count()), name="count", daemon=True).start()
    return number
