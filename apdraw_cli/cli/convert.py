"""`apdraw convert` as its user sees it."""

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from apdraw_cli import __version__
from apdraw_cli.cli.common import Quiet, command
from apdraw_cli.console import Console
from apdraw_cli.conversion.listener import Listener, Together
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions, FileOptions, PageOptions, RunOptions
from apdraw_cli.conversion.storage.url import Place, place
from apdraw_cli.log_file import log_file as logging_to
from apdraw_cli.memory_limits import check_memory
from apdraw_cli.own_process import stop_requests, tune_process
from apdraw_cli.progress import ConversionProgress
from apdraw_cli.result_lines import KeptResults, PrintedResults
from apdraw_cli.terminal_text import MOST_LISTED, duration, photos, printable, rate, table, write
from engines.errors import ExitCode, OptionsError, PhotoError, UsageError
from engines.options import EngineOptions, ModelOptions

if TYPE_CHECKING:
    from apdraw_cli.commands.convert import Plan
    from apdraw_cli.conversion.outcome import ConvertResult
    from apdraw_cli.conversion.plan import Step

MOST_ENDINGS_TOLD: Final = 8

EXAMPLES = """
Examples:
  apdraw convert photos                           draws into photos-drawings
  apdraw convert photos -o drawings --faces all   every face of every photo
  apdraw convert me.jpg                           draws me-drawing.png
  apdraw convert me.jpg -o portrait.svg           one photo, into this file
  apdraw convert me.jpg you.heic -o drawings      single photos
  apdraw convert - -o - < me.jpg > portrait.png   through a pipe
  find . -name '*.jpg' | apdraw convert - -o drawings
  apdraw convert photos --watch                   what arrives, until Ctrl-C
  apdraw convert photos --ignore-known --quiet    prints new failures only

The tree below a folder is mirrored in the output folder. Photos are never
touched. Run the same command again to draw what is new or has changed. What
became of each photo is kept in apdraw-manifest.jsonl in the output folder.

Exit codes:
  0    all photos are drawn, or were already
  1    some photos were not drawn; a table names them (with --ignore-known:
       some that were not known to fail)
  2    the command was used wrongly
  3    this machine or the model is not fit for it
  130  interrupted; what was drawn is kept
"""

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE", help="Photos and folders; - for a list of paths, or a picture, on standard input."
    ),
]


def _place(given: str | Path) -> Place:
    """A path, or a URL as it is."""
    return place(str(given))


Output = Annotated[
    str | None,  # a Place: were this a Path, Typer before 0.29 would make one of a URL, too
    typer.Option(
        "--output",
        "-o",
        parser=_place,
        metavar="PATH",
        help="Folder for the drawings; for one photo, its drawing's file too, and - is standard output.",
        show_default="beside the first folder, as FOLDER-drawings; of one photo PHOTO-drawing.png beside it; of "
        "several, beside the folder they are in",
    ),
]


@command(epilog=EXAMPLES)
def convert(
    console: Console,
    *,
    sources: Sources,
    output: Output = None,
    file: FileOptions,
    page: PageOptions,
    run: RunOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")] = False,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            help="Print JSON, a line for each photo as soon as it is through, and the summary in the last one.",
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for each photo.")] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file",
            help="Append what happens to this file, with times: a line for each photo.",
            show_default=False,
        ),
    ] = None,
    faces: FaceOptions,
    model: ModelOptions,
    engine: EngineOptions,
) -> int:
    """Draws the faces in photos."""
    check_memory(console.warning)  # before OpenCV is imported, which crashes where there is too little
    from apdraw_cli.commands import convert as commands
    from apdraw_cli.commands.pipe import PIPE, leads_through_pipe
    from apdraw_cli.conversion.gather import read_list

    given = sys.stdin.buffer.read() if PIPE in sources else b""
    piped = leads_through_pipe(output, given)
    options = ConvertOptions(
        sources=tuple(source for source in sources if source != PIPE),
        listed=tuple(read_list(given)) if given and not piped else (),
        output=output,
        model=model,
        faces=faces,
        engine=engine,
        file=file,
        page=page,
        run=run,
    )
    if quiet and verbose:
        raise OptionsError("--quiet and --verbose contradict each other: leave out one of them")
    if piped:
        commands.check_model(options)
        for name, said in (("--dry-run", dry_run), ("--jsonl", jsonl)):
            if said:
                raise OptionsError(f"{name} is for photos in files: leave it out")
        return drawn_through_pipe(console, options, sources, given)
    with contextlib.ExitStack() as opened:
        log = opened.enter_context(logging_to(log_file, f"apdraw {__version__} convert {' '.join(sources)}"))
        commands.check_model(options)
        if dry_run:
            with commands.Plan(options) as plan:
                return console.show(planned(console, plan, prune=run.prune))
        tune_process()
        stop = opened.enter_context(stop_requests())
        progress = ConversionProgress(quiet=quiet, debug=console.debug, each=verbose or run.watch, bar=not run.watch)
        listeners: list[Listener] = [progress]
        results = None
        if jsonl:
            listeners.append(PrintedResults())
        elif console.as_json:
            results = opened.enter_context(KeptResults())
            listeners.append(results)
        with progress:  # whose bar has its last line before the result is told
            if run.watch:
                progress.say("Watching: Ctrl-C ends it.")
            result = commands.convert(options, Together(*listeners), stop=stop, debug=console.debug)
        log.info("%s", totals(result))
        if result.error is not None:
            log.error("%s", result.error)
        return show(console, result, results, shard=run.shard)


def drawn_through_pipe(console: Console, options: ConvertOptions, sources: Sequence[str], given: bytes) -> int:
    """Draws the one photo of a pipe, and prints the drawing, or where it is."""
    from apdraw_cli.commands import pipe

    if str(options.output) == pipe.PIPE:
        if console.as_json:
            raise OptionsError("--json and -o - both write to standard output: leave out one of them")
        if sys.stdout.isatty():
            raise UsageError("a drawing is no text for a terminal: name a file with -o me.png")
    try:
        drawn = pipe.through_pipe(options, sources, given)
    except PhotoError as error:
        console.failed(error, error.message, ExitCode.PARTLY)
        return ExitCode.PARTLY
    if drawn.output is None:
        sys.stdout.buffer.write(drawn.data)
        sys.stdout.buffer.flush()
        return ExitCode.DONE
    files = (drawn.output,)
    return console.show({"output": str(drawn.output)}, lambda console, _: _tell_files(console, files))


def show(
    console: Console, result: "ConvertResult", results: Iterable[str] | None = None, *, shard: str | None = None
) -> int:
    """Tells the result, and what became of each photo, as JSON; of a quiet command only what was not drawn."""
    code = console.show(result, functools.partial(_tell, shard=shard), results=results, photos=result.photos)
    if console.quiet and not console.as_json:
        for line in _failures(result):
            write(sys.stderr, line)
    if result.error is not None:
        console.error(result.error)
    return code


def planned(console: Console, plan: "Plan", *, prune: bool) -> dict[str, Any]:
    """Tells people step by step what a conversion would do, and returns it all for scripts."""
    counts: Counter[str] = Counter()
    listed = []
    for step in plan.steps():
        action, reason = _intention(step)
        counts[action] += 1
        if console.as_json:
            listed.append({"source": step.source.name, "action": action, "drawing": step.drawing, "reason": reason})
        note = f"-> {step.drawing}" if action == "draw" else f"({reason})"
        console.say(printable(f"{action}  {step.source.name}  {note}"))
    totals = {action: counts[action] for action in ("draw", "skip", "fail")}
    orphans = list(plan.orphans())
    if prune:
        for name in orphans:
            console.say(printable(f"remove  {name}  (left behind by an earlier run)"))
    elif orphans:
        console.say(f"{_drawings(len(orphans))} left behind by earlier runs: --prune removes them.")
    _tell_passed_over(console, plan.passed_over.files, plan.passed_over.folders)
    would = f"Would draw {totals['draw']}, skip {totals['skip']}, fail {totals['fail']}"
    console.say(f"{would}{f', remove {len(orphans)}' if prune else ''}; wrote nothing.")
    return {
        "dry_run": True,
        **totals,
        "photos": listed,
        "orphans": orphans,
        "other_files": dict(plan.passed_over.files.most_common()),
        "drawing_folders": plan.passed_over.folders,
    }


def _intention(step: "Step") -> tuple[str, str]:
    if step.settled is None:
        return "draw", ""
    error = step.settled.error
    if step.settled.status == "skipped":
        return "skip", "up to date" if error is None else error.message
    return "fail", "" if error is None else error.message


def _tell(console: Console, result: "ConvertResult", *, shard: str | None = None) -> None:
    for line in (*_failures(result), *_warnings(result)):
        console.say(line)
    if not result.photos and not result.interrupted:
        if result.error is None and shard is not None:
            console.say(f"There are no photos in shard {shard}.")
        elif result.error is None:
            from apdraw_cli.conversion.sources import EXTENSIONS

            console.say(f"There are no photos: apdraw looks for {' '.join(sorted(EXTENSIONS))}.")
            _tell_passed_over(console, result.other_files, result.drawing_folders)
        return
    console.say(totals(result))
    if result.ignore_known and result.known:
        console.say(f"{photos(result.known)} failed before in the same way, and are not listed.")
    elif result.remembered:
        console.say(f"{photos(result.remembered)} known from before not tried again: --retry-failed does that.")
    _tell_passed_over(console, result.other_files, result.drawing_folders)
    if result.pruned:
        console.say(f"{_drawings(result.pruned)} left behind by earlier runs removed.")
    if result.interrupted:
        console.say("Interrupted: what is drawn is kept, and the same command goes on from here.")
    if PurePath(result.manifest).name.startswith("."):
        _tell_files(console, result.files)
    else:
        console.say(f"Drawings and {PurePath(result.manifest).name} are in {result.output}")
    if result.gallery is not None:
        console.say(f"To look through them, open {result.gallery}")


def _tell_files(console: Console, files: Sequence[Place]) -> None:
    """Where the drawings of a single photo are."""
    if files:
        console.say(printable(f"The drawing{'s are' if len(files) > 1 else ' is'} {', '.join(map(str, files))}"))


def totals(result: "ConvertResult") -> str:
    """How many photos there were, what became of them, and how long it took, in one line."""
    counts = [
        (result.done, "drawn"),
        (result.skipped - result.own_drawings, "up to date"),
        (result.own_drawings, "made by apdraw"),
        (result.no_face, "without a face"),
        (result.failed, "failed"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in counts if count or what == "drawn")
    speed = f", {rate(result.photos_per_second)}" if result.done > 1 and result.photos_per_second else ""
    return f"{photos(result.photos)}: {told}; {duration(result.seconds)}{speed}."


def _tell_passed_over(console: Console, files: "Mapping[str, int]", folders: "Sequence[str]") -> None:
    """What lies beside the photos, in a line each: files of other kinds, and folders of drawings."""
    if files:
        total = sum(files.values())
        ordered = sorted(files.items(), key=lambda item: (-item[1], item[0]))
        kinds = [f"{count} {ending or 'without an ending'}" for ending, count in ordered[:MOST_ENDINGS_TOLD]]
        left = total - sum(count for _, count in ordered[:MOST_ENDINGS_TOLD])
        told = ", ".join([*kinds, *([f"{left} more"] if left else [])])
        console.say(printable(f"{total} other file{'s' * (total != 1)}, not looked at: {told}"))
    if folders:
        named = ", ".join(folders[:MOST_LISTED]) + ", ..." * (len(folders) > MOST_LISTED)
        console.say(printable(f"Not looked into, since apdraw drew into it: {named}"))


def _drawings(count: int) -> str:
    return f"{count} drawing{'s' * (count != 1)}"


def _failures(result: "ConvertResult") -> list[str]:
    """The photos without a drawing, and why; the first of them."""
    if not result.failures:
        return []
    first = result.failures[:MOST_LISTED]
    known = {True: " (known from before)", False: ""}
    lines = table([(failure.source, f"{failure.message}{known[failure.remembered]}") for failure in first])
    left = result.failing - len(first)
    return ["Not drawn:", *lines, *([f"  and {left} more: {result.manifest} names them"] if left else [])]


def _warnings(result: "ConvertResult") -> list[str]:
    """The drawings that should be looked at, and why; the first of them."""
    if not result.warnings:
        return []
    reasons: dict[str, list[str]] = {}
    for each in result.warnings:
        reasons.setdefault(each.output, []).append(each.message)
    first = list(reasons.items())[:MOST_LISTED]
    left = result.warned - len(first)
    lines = table([(drawing, "; ".join(messages)) for drawing, messages in first])
    return ["Look at these:", *lines, *([f"  and {left} more: {result.manifest} names them"] if left else [])]
