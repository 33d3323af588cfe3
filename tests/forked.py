"""Runs programs in processes forked off one that has imported torch and Fabric, which takes each four seconds else."""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path


def start(program: list[str], said: Path, variables: Mapping[str, str] | None = None) -> BaseProcess:
    """Starts a Python program in a session of its own.

    Args:
        program: a module or a file .py, and its arguments.
        said: its output goes to the files of this name with .out and .err behind it.
        variables: what is changed in its environment.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["apdraw_cli.commands.train", "train.loop", "torch.utils.tensorboard"])
    process = context.Process(target=_run, args=(program, said, variables or {}))
    process.start()
    return process


def _run(program: list[str], said: Path, variables: Mapping[str, str]) -> None:
    multiprocessing.set_start_method(None, force=True)  # the program's own processes are started as ever
    os.setsid()
    os.environ.update(variables)
    for number, suffix in ((1, "out"), (2, "err")):
        with Path(f"{said}.{suffix}").open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.argv = program
    run = runpy.run_path if program[0].endswith(".py") else runpy.run_module
    run(program[0], run_name="__main__")
