"""The console: all that the program prints, and the only place that prints."""

import contextlib
import dataclasses
import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from apdraw_cli.conversion.outcome import ConvertResult, Failure, Outcome
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.sources import EXTENSIONS

if TYPE_CHECKING:
    from apdraw_cli.commands.bench import BenchResult
    from apdraw_cli.commands.build_engine import BuildResult
    from apdraw_cli.commands.doctor import Diagnosis
    from apdraw_cli.commands.evaluate import EvaluateResult
    from apdraw_cli.commands.export import ExportResult
    from apdraw_cli.commands.train import TrainPlan, TrainResult
    from apdraw_cli.datasets.options import PrepareResult
    from engines.base import Engine

LISTED: Final = 20
"""So many photos without a drawing are named; the manifest and --json name all."""

LINE_SECONDS: Final = 10.0
"""How often progress is told where there is no terminal."""


class Console:
    """Prints: results on standard output, everything else on standard error.

    Args:
        quiet: print nothing but errors.
        as_json: print the result as one JSON object.
        debug: print tracebacks too.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False, debug: bool = False) -> None:
        self._quiet = quiet
        self._json = as_json
        self._debug = debug

    def error(self, message: str) -> None:
        """What ended a command; with the traceback of the exception being handled, if that was asked for."""
        if self._debug and sys.exc_info()[0] is not None:
            _write(sys.stderr, traceback.format_exc(), one_line=False)
        _write(sys.stderr, f"apdraw: error: {message}")

    def warning(self, message: str) -> None:
        """What the user should know."""
        _write(sys.stderr, f"apdraw: warning: {message}")

    def say(self, message: str) -> None:
        """A line for people."""
        if not self._quiet and not self._json:
            _write(sys.stdout, message, one_line=False)

    def result(self, result: Any) -> None:
        """A dataclass as one JSON object, if that was asked for."""
        if self._json:
            self._object(dataclasses.asdict(result))

    def progress(self) -> "Progress":
        """A listener that shows how a conversion goes."""
        if self._quiet:
            return Progress(debug=self._debug)
        return Bar(debug=self._debug) if sys.stderr.isatty() else Lines(debug=self._debug)

    def converted(self, result: ConvertResult) -> None:
        """The summary of a conversion."""
        if self._json:
            counts = {"photos": result.photos, "exit_code": result.exit_code}
            self._object(dataclasses.asdict(result) | counts)
        elif self._quiet:
            _write_failures(result, sys.stderr)
        else:
            _write_failures(result, sys.stdout)
            _write_summary(result, sys.stdout)
        if result.error is not None:
            self.error(result.error)

    def planned(self, steps: Iterable[Step]) -> None:
        """What a conversion would do."""
        counts: Counter[str] = Counter()
        listed = []
        for step in steps:
            action, reason = _intention(step)
            counts[action] += 1
            photo = {"source": step.source.name, "action": action, "drawing": step.drawing, "reason": reason}
            if self._json:
                listed.append(photo)
            else:
                note = f"-> {step.drawing}" if action == "draw" else f"({reason})"
                self.say(_shown(f"{action}  {step.source.name}  {note}"))
        totals = {action: counts[action] for action in ("draw", "skip", "fail")}
        if self._json:
            self._object({"dry_run": True, **totals, "photos": listed})
        self.say(f"Would draw {totals['draw']}, skip {totals['skip']}, fail {totals['fail']}; wrote nothing.")

    def prepared(self, result: "PrepareResult") -> None:
        """What became of photos and drawings on the way into a data set."""
        self.result(result)
        for line in _preparation(result):
            self.say(_shown(line))

    def training(self) -> "TrainingSteps":
        """A listener that shows how a training run goes."""
        return TrainingSteps()

    def training_planned(self, plan: "TrainPlan") -> None:
        """What `apdraw train` would do."""
        self.result(plan)
        self.say(plan.config)
        for network, weights in plan.weights.items():
            self.say(f"{network}: {weights:,} weights")
        per_step = f"{plan.gflop_per_step:,.0f} GFLOP a step"
        self.say(
            f"{plan.pairs} portraits, {plan.steps} steps, {per_step}, about {plan.memory_bytes / 1e9:.1f} GB of memory."
        )
        self.say("Wrote nothing.")

    def trained(self, result: "TrainResult", commands: Sequence[str]) -> None:
        """How a training run ended; on another process than the first there is nothing to tell."""
        if result.interrupted_at is not None:
            self.result(result)
            self.say(f"Stopped at step {result.interrupted_at}; go on with the same command and --resume.")
        elif result.result is not None:
            self.result(result)
            self.say(f"Wrote {result.result}. What next:")
            for command in commands:
                self.say(f"  {command}")

    def diagnosed(self, diagnosis: "Diagnosis") -> None:
        """What `apdraw doctor` found."""
        self.result(diagnosis)
        self.say(f"apdraw {diagnosis.version}, Python {diagnosis.python}, {diagnosis.system}")
        sections = (
            ("Engines", diagnosis.engines),
            ("GPU", diagnosis.gpu),
            ("Parts", diagnosis.parts),
            ("Folders", diagnosis.folders),
            ("Model", (diagnosis.model,) if diagnosis.model else ()),
        )
        for title, rows in sections:
            if rows:
                self.say(f"\n{title}")
            for line in _columns([(row.name, row.version or "-", row.state) for row in rows]):
                self.say(f"  {line}")
        remedies: dict[str, str] = {}
        for row in (row for _, rows in sections for row in rows if row.remedy):
            remedies.setdefault(str(row.remedy), row.name)
        if remedies:
            self.say("\nWhat is missing, and how to get it")
            for line in _columns([(name, remedy) for remedy, name in remedies.items()]):
                self.say(f"  {line}")
        drawn_with = f"can draw here, with {diagnosis.picked}."
        verdict = f"cannot draw: {diagnosis.trouble}" if diagnosis.trouble else drawn_with
        self.say(f"\napdraw convert {verdict}")
        for advice in () if diagnosis.trouble else diagnosis.advice:
            self.say(f"Next: {advice}")

    def steps(self, doing: str, unit: str) -> "Steps":
        """Shows how far a command is."""
        return Steps(doing, unit)

    def benched(self, result: "BenchResult") -> None:
        """What `apdraw bench` measured."""
        self.result(result)
        peaks = ", ".join(f"{value:.0f} in {precision}" for precision, value in result.peaks.items())
        self.say(f"{result.cores} cores; GFLOP a second of a matrix product: {peaks}")
        self.say(f"\nThe generator alone, {result.gflop:.1f} GFLOP a portrait ({result.model.name})")
        for line in _columns(
            [
                (
                    f"{timing.engine} {timing.precision}",
                    f"{1000 * timing.seconds:.0f} ms a portrait ({1000 * timing.fastest:.0f} to "
                    f"{1000 * timing.slowest:.0f})",
                    f"{timing.gflops:.0f} GFLOP/s"
                    + (f", {timing.of_peak:.0%} of the peak" if timing.of_peak is not None else ""),
                )
                for timing in result.generator
            ]
        ):
            self.say(f"  {line}")
        self.say(f"\nThe whole way, {result.photos} photos; seconds a photo by stage, several at work at once")
        for line in _columns([(stage, f"{seconds:.3f}") for stage, seconds in result.stages.items()]):
            self.say(f"  {line}")
        self.say(
            f"\n{result.photos_per_second:.2f} photos a second ({result.slowest:.2f} to {result.fastest:.2f}), "
            f"{result.of_generator:.0%} of the generator alone"
        )
        if result.memory_bytes is not None:
            self.say(f"{result.memory_bytes / 1e9:.2f} GB of memory at most, all processes together")

    def exported(self, result: "ExportResult") -> None:
        """What `apdraw export` wrote."""
        self.result(result)
        precision = result.metadata["precision"]
        self.say(f"Wrote {result.onnx}: {result.size / 1e6:.1f} MB, {precision}.")
        if precision == "fp32":
            taken = "bf16" in result.metadata["precisions"].split()
            verdict = "auto takes it where the processor has it" if taken else "too far for auto to take it"
            self.say(f"  in bf16 grey levels from fp32: {result.metadata['bf16_difference']}; {verdict}")
        if precision == "fp16":
            self.say(f"  in half precision: {', '.join(result.metadata['half_networks'].split())}")
            self.say(f"  grey levels from fp32, tried on portraits: {result.metadata['half_difference']}")
        if precision == "int8":
            self.say(f"  from fp32, tried on portraits: {result.metadata['int8_difference']}")

    def built(self, result: "BuildResult") -> None:
        """What `apdraw build-engine` built."""
        self.result(result)
        sidecar, layers = result.sidecar, result.sidecar.layers
        size = f"{result.size / 1e6:.1f} MB, {sidecar.precision}, built in {_duration(result.seconds)}"
        self.say(f"Wrote {result.engine}: {size}; {result.sidecar_file.name} beside it has to stay with it.")
        capabilities = ", ".join(sidecar.compute_capabilities)
        self.say(f"  runs with {sidecar.flavor} {sidecar.version} on {sidecar.platform}, GPUs of {capabilities}")
        self.say(f"  batches of 1 to {sidecar.batch_size}, the fastest of {sidecar.batch_size}")
        half, single = (layers.get(f"CONVOLUTION {dtype}", 0) for dtype in ("HALF", "FLOAT"))
        self.say(f"  convolutions: {half} in half precision, {single} in single")
        if result.trial is None:
            self.say(f"  not tried: {result.not_tried}")
            return
        trial = result.trial
        difference = f"{trial.largest_difference} at most, {trial.mean_difference:.3f} on average"
        self.say(f"  grey levels from ONNX Runtime's drawings, on {trial.device}: {difference}")
        for latency in trial.latencies:
            times = f"{latency.p50:.1f} ms, 90 % under {latency.p90:.1f}, 99 % under {latency.p99:.1f}"
            self.say(f"  a batch of {latency.batch_size} takes {times}")

    def evaluated(self, result: "EvaluateResult") -> None:
        """What `apdraw evaluate` measured."""
        self.result(result)
        for line in _evaluation(result):
            self.say(_shown(line))

    def _object(self, value: dict[str, Any]) -> None:
        _write(sys.stdout, json.dumps(value, default=str))


class Progress:
    """A listener that prints nothing; but in debugging, the tracebacks of errors in the program.

    Args:
        debug: print those.
    """

    def __init__(self, *, debug: bool = False) -> None:
        self._debug = debug

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the console tidy."""

    def counted(self, photos: int) -> None:
        """See `Listener`."""

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """See `Listener`."""

    def settled(self, outcome: Outcome) -> None:
        """See `Listener`."""
        if self._debug and outcome.trace:
            _write(sys.stderr, f"{outcome.source.name}:\n{outcome.trace}", one_line=False)

    def waiting(self) -> None:
        """See `Listener`."""

    def stopping(self) -> None:
        """See `Listener`."""


class Lines(Progress):
    """Progress as one plain line now and then."""

    def __init__(self, *, debug: bool = False) -> None:
        super().__init__(debug=debug)
        self._photos: int | None = None
        self._tried = 0
        self._passed = 0
        self._start = self._told = time.monotonic()

    def counted(self, photos: int) -> None:
        """See `Progress`."""
        self._photos = photos

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """See `Progress`."""
        self._start = self._told = time.monotonic()
        self._tell(_opening(engine, workers))

    def settled(self, outcome: Outcome) -> None:
        """See `Progress`."""
        super().settled(outcome)
        if _was_tried(outcome):
            self._tried += 1
        else:
            self._passed += 1
        self.waiting()

    def waiting(self) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if self._tried == 0 or now - self._told < LINE_SECONDS:
            return
        self._told = now
        rate = self._tried / (now - self._start)
        line = f"{self._tried} photos, {_rate(rate)}"
        if self._photos is not None:
            to_do = max(self._photos - self._passed, self._tried)
            left = _duration((to_do - self._tried) / rate)
            line = f"{self._tried} of {_photos(to_do)}, {_rate(rate)}, about {left} left"
        self._tell(line)

    def stopping(self) -> None:
        """See `Progress`."""
        self._tell(STOPPING)

    def _tell(self, line: str) -> None:
        _write(sys.stderr, line)


def _losses(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in losses.items())


STOPPING: Final = "Stopping: what is being drawn is finished first; Ctrl-C again leaves at once."


class Bar(Lines):
    """Progress as a bar, with rate and time left."""

    def __init__(self, *, debug: bool = False) -> None:
        super().__init__(debug=debug)
        self._bar: Any = None
        self._without = 0

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """See `Progress`."""
        from tqdm import tqdm

        super().engine_ready(engine, workers)
        self._bar = tqdm(
            total=self._to_do(),
            unit=" photo",
            desc="Drawing",
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0.1,
        )

    def counted(self, photos: int) -> None:
        """See `Progress`."""
        super().counted(photos)
        self.waiting()

    def settled(self, outcome: Outcome) -> None:
        """See `Progress`."""
        super().settled(outcome)
        if self._bar is None:
            return
        if _was_tried(outcome):
            self._bar.update()
        if outcome.error is not None and not outcome.remembered:
            self._without += 1
            self._bar.set_postfix_str(f"{self._without} not drawn", refresh=False)

    def waiting(self) -> None:
        """See `Progress`."""
        if self._bar is not None and self._bar.total != self._to_do():
            self._bar.total = self._to_do()
            self._bar.refresh()

    def close(self) -> None:
        """See `Progress`."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _to_do(self) -> int | None:
        return None if self._photos is None else max(self._photos - self._passed, self._tried)

    def _tell(self, line: str) -> None:
        if self._bar is None:
            super()._tell(line)
        else:
            self._bar.write(line, file=sys.stderr)


class Steps:
    """How far a command is: a bar on a terminal, elsewhere one plain line now and then.

    Args:
        doing: what the command does.
        unit: what it does it to, in the singular.
    """

    def __init__(self, doing: str, unit: str) -> None:
        self._doing = doing
        self._unit = unit
        self._bar: Any = None
        self._first = 0
        self._start = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Tells that `done` of `total` are done."""
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(
                    total=total,
                    initial=self._first,
                    unit=f" {self._unit}",
                    desc=self._doing,
                    dynamic_ncols=True,
                    file=sys.stderr,
                )
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if self._first < done < total and now - self._told >= LINE_SECONDS:
            self._told = now
            left = _duration((total - done) * (now - self._start) / (done - self._first))
            more = f"; {note}" if note else ""
            _write(sys.stderr, f"{self._doing}: {done} of {total} {self._unit}s, about {left} left{more}")


class TrainingSteps(Steps):
    """How far a training run is, with its losses."""

    def __init__(self) -> None:
        super().__init__("Training", "step")
        self._total = 0

    def begun(self, step: int, steps: int) -> None:
        """The run starts, or goes on, at `step` of `steps`."""
        self._first, self._total = step, steps
        self._start = self._told = time.monotonic()

    def stepped(self, step: int, losses: Mapping[str, float]) -> None:
        """A step is done."""
        self(step, self._total, _losses(losses))


def _was_tried(outcome: Outcome) -> bool:
    return outcome.status != "skipped" and not outcome.remembered


def _opening(engine: "Engine", workers: int) -> str:
    by = f"{workers} worker{'s' * (workers != 1)}" if workers else "no workers"
    return f"Drawing with {engine.name} on {engine.device} in {engine.precision}, {by}."


def _write_failures(result: ConvertResult, stream: TextIO) -> None:
    if not result.failures:
        return
    shown = result.failures[:LISTED]
    _write(stream, "Not drawn:")
    for line in _columns([(failure.source, _reason(failure)) for failure in shown]):
        _write(stream, f"  {line}")
    left = result.no_face + result.failed - len(shown)
    if left:
        _write(stream, f"  and {left} more: {result.manifest} names them")


def _reason(failure: Failure) -> str:
    return f"{failure.message} (known from before)" if failure.remembered else failure.message


def _write_summary(result: ConvertResult, stream: TextIO) -> None:
    if not result.photos and not result.interrupted:
        if result.error is None:
            _write(stream, f"There are no photos: apdraw looks for {' '.join(sorted(EXTENSIONS))}.")
        return
    counts = [
        (result.done, "drawn"),
        (result.skipped, "up to date"),
        (result.no_face, "without a face"),
        (result.failed, "failed"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in counts if count or what == "drawn")
    rate = f", {_rate(result.photos_per_second)}" if result.done > 1 else ""
    _write(stream, f"{_photos(result.photos)}: {told}; {_duration(result.seconds)}{rate}.")
    if result.remembered:
        _write(stream, f"{result.remembered} known from before not tried again: --retry-failed does that.")
    if result.interrupted:
        _write(stream, "Interrupted: what is drawn is kept, and the same command goes on from here.")
    _write(stream, f"Drawings and {result.manifest.name} are in {result.output}")


def _preparation(result: "PrepareResult") -> list[str]:
    """The lines that tell what was prepared and what was not."""
    lines = []
    if result.left_out:
        lines.append("Left out:")
        shown = result.left_out[:LISTED]
        lines += [f"  {line}" for line in _columns([(each.name, each.reason, each.detail) for each in shown])]
        if len(result.left_out) > len(shown):
            lines.append(f"  and {len(result.left_out) - len(shown)} more: {result.dataset / 'index.jsonl'} names them")
        lines += [f"{count} left out: {reason}" for reason, count in result.reasons.items()]
    if result.unread:
        named = ", ".join(result.unread[:LISTED]) + ", ..." * (len(result.unread) > LISTED)
        lines.append(_shown(f"Not looked into, prepare each by itself: {named}"))
    count = f"{result.prepared} portrait{'s' * (result.prepared != 1)}"
    if result.interrupted:
        return [*lines, f"Interrupted: {count} finished are kept, and the same command goes on from here."]
    notes = [f"{result.kept} from before"] if result.kept else []
    notes += [f"{result.registered} with a drawing moved onto the photo"] if result.registered else []
    lines.append(f"Prepared {count} in {result.dataset}" + (f" ({', '.join(notes)})" if notes else ""))
    if result.contact_sheet:
        lines.append(f"Look at {result.contact_sheet} before training.")
    return lines


def _evaluation(result: "EvaluateResult") -> list[str]:
    """The lines that tell what was measured."""
    mean = result.mean
    lines = [
        f"{result.model} on {result.dataset}, split {result.split}: "
        f"measured {result.measured} of {result.split_portraits} portraits"
        + (f", drawn with {result.engine}" if result.engine else ""),
        "",
    ]
    fid = "not measured" if result.fid is None else f"{result.fid:.2f}"
    lines += _columns(
        [
            ("Mean over portraits", "drawings", "data set's own"),
            ("  L1, 0 to 1, lower is better", f"{mean.l1:.4f}", ""),
            ("  SSIM, up to 1, higher is better", f"{mean.ssim:.4f}", ""),
            ("  Chamfer distance in pixels, lower is better", f"{mean.chamfer:.2f}", ""),
            ("  Two-tone pixels", f"{mean.two_tone:.1%}", f"{mean.reference_two_tone:.1%}"),
            ("  Background, 0 to 255", _level(mean.background), _level(mean.reference_background)),
        ]
    )
    paper = [(f"  {method}", f"{value:.2f}") for method, value in result.paper_fid.items()]
    lines += ["", *_columns([("FID, lower is better", ""), ("  these drawings", fid), *paper])]
    chamfer = {portrait.name: portrait.scores.chamfer for portrait in result.portraits}
    lines += [
        "All but the first are the paper's (Table 1), over its 70 test pairs: only FIDs over those compare with them.",
        *result.fid_notes,
        "",
        f"Largest Chamfer distances: {', '.join(f'{name} ({chamfer[name]:.2f})' for name in result.worst)}",
    ]
    if result.left_out:
        lines += ["Not measured:", *_columns([(f"  {left.name}", left.reason) for left in result.left_out[:LISTED]])]
        more = len(result.left_out) - LISTED
        if more > 0:
            lines.append(f"  and {more} more: --json names them")
    return lines


def _level(brightness: float | None) -> str:
    return "-" if brightness is None else f"{brightness:.1f}"


def _intention(step: Step) -> tuple[str, str]:
    if step.settled is None:
        return "draw", ""
    if step.settled.error is None:
        return "skip", "up to date"
    return "fail", step.settled.error.message


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, with cells one below the other; an overlong cell moves only its own line."""
    shown = [[_shown(cell) for cell in row] for row in rows]
    widths = [min(48, max(len(cell) for cell in column)) for column in zip(*shown, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _rate(per_second: float) -> str:
    return f"{per_second:.1f} photos/s" if per_second >= 0.1 else f"{per_second * 60:.1f} photos/min"


def _duration(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _shown(text: str) -> str:
    """A line without what would upset a terminal: control characters and bytes that are no text."""
    try:
        readable = os.fsencode(text).decode("utf-8", "replace")
    except UnicodeEncodeError:  # half a character, which is no text either
        readable = text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in readable)


def _write(stream: TextIO, text: str, *, one_line: bool = True) -> None:
    line = _shown(text) if one_line else "\n".join(map(_shown, text.split("\n")))
    encoding = stream.encoding or "utf-8"
    line = line.encode(encoding, "replace").decode(encoding)
    if stream is sys.stderr:
        with contextlib.suppress(OSError):  # nobody is listening; no reason to stop
            print(line, file=stream, flush=True)
    else:
        print(line, file=stream, flush=True)
