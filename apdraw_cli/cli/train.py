"""`apdraw train` as its user sees it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from apdraw_cli.cli.common import command, wants_json
from apdraw_cli.cli.parameters import Said
from apdraw_cli.console import Console
from apdraw_cli.memory_limits import TO_TRAIN, check_memory
from apdraw_cli.progress import TrainingProgress
from apdraw_cli.terminal_text import table, write
from engines.options import choices_of, described, spelled
from train.options import TrainOptions, typed

EXAMPLES = """
Examples:
  apdraw train dataset --stage auxiliary --output lines       line detectors
  apdraw train dataset --stage pretrain --output pretrained
  apdraw train artist --from pretrained --lines lines --output formal
  apdraw train artist --output formal --resume                goes on
  apdraw train dataset --stage pretrain --config mine.toml --dry-run

Options not given take the paper's values for the stage, then those of
--preset, then those of --config, a TOML file with the same names. The run
folder gets config.toml, metrics.jsonl, TensorBoard events, pictures,
checkpoints, and at the end generator.safetensors (lines.safetensors after the
auxiliary stage). Under torchrun, each process is one device:
torchrun --no-python --nproc-per-node 4 apdraw train ...
"""


def _list_options(context: typer.Context, asked: bool) -> None:
    if not asked:
        return
    rows, options = [], []
    for name, (field, kind) in described(TrainOptions).items():
        about = field.metadata
        default = about["shown"] or ("" if field.default in (None, "") else spelled_value(field.default))
        words = choices_of(field, kind)
        options.append({"name": spelled(name), "default": default, "help": about["help"], "choices": words})
        rows.append((spelled(name), default, about["help"] + (f" One of {', '.join(words)}." if words else "")))
    if wants_json(context):
        Console("train", as_json=True).show({"options": options})
        raise typer.Exit
    write(sys.stdout, "--set NAME=VALUE, or a line NAME = VALUE of the TOML file of --config:", one_line=False)
    for line in table([("NAME", "default", ""), *rows], 0):
        write(sys.stdout, line)
    raise typer.Exit


def spelled_value(value: object) -> str:
    """A value as --set takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@command(epilog=EXAMPLES)
def train(
    console: Console,
    *,
    dataset: Annotated[Path, typer.Argument(help="A prepared data set, or one in the authors' layout.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of the run.")],
    start: Annotated[
        Path | None, typer.Option("--from", metavar="RUN|MODEL", help="Weights to start from.", show_default=False)
    ] = None,
    lines: Annotated[
        Path | None,
        typer.Option(metavar="RUN|FILE", help="Line detectors of L_DT, from the auxiliary stage.", show_default=False),
    ] = None,
    said: Annotated[dict[str, Any], Said(TrainOptions)],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of options, named as in --list-options.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any option of --list-options; can be given several times."),
    ] = None,
    list_options: Annotated[
        bool,
        typer.Option("--list-options", help="Print all options, and end.", is_eager=True, callback=_list_options),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print options and the work they mean.")] = False,
) -> int:
    """Trains line detectors (auxiliary), local networks alone (local), or the generator (pretrain, formal)."""
    from apdraw_cli.commands import train as commands

    given = typed(set_ or ()) | said
    if dry_run:
        return console.show(commands.plan(dataset, given, config), _tell_plan)
    check_memory(console.warning, TO_TRAIN)
    with TrainingProgress() as listener:
        result = commands.train(
            dataset, output, given, config=config, start=start, lines=lines, resume=resume, listener=listener
        )
    if result.result is None and result.interrupted_at is None:
        return result.exit_code  # not the first of several processes
    code = console.show(result)
    if result.interrupted_at is not None:
        console.say(f"Stopped at step {result.interrupted_at}; go on with the same command and --resume.")
    else:
        console.say(f"Wrote {result.result}. What next:")
        for line in commands.next_commands(result, dataset):
            console.say(f"  {line}")
    return code


def _tell_plan(console: Console, plan: Any) -> None:
    console.say(plan.config)
    for network, weights in plan.weights.items():
        console.say(f"{network}: {weights:,} weights")
    per_step = f"{plan.gflop_per_step:,.0f} GFLOP a step"
    memory = f"about {plan.memory_bytes / 1e9:.1f} GB of memory"
    if plan.pairs is None:
        console.say("The data set is still being prepared: the number of its portraits is not known.")
    portraits = [] if plan.pairs is None else [f"{plan.pairs} portraits"]
    steps = [] if plan.steps is None else [f"{plan.steps} steps"]
    console.say(", ".join([*portraits, *steps, per_step, memory]) + ".")
    console.say("Wrote nothing.")
