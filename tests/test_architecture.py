"""What may import what. Sources are read, not run: imports inside functions count too."""

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("apdraw_cli", "train", "engines")

ON_USE = """
    cloudpickle contourpy cuda distributed fsspec joblib lightning_fabric onnx onnxruntime onnxscript openvino
    pillow_heif pydyf retinaface rich s3fs safetensors starlette tensorboard tensorrt tensorrt_rtx torch
    torch_fidelity torchmetrics torchvision tqdm uvicorn
"""
"""Libraries that are slow to import, or may be missing: `apdraw_cli` and `engines` import them where they use them."""

WALLS = {
    "engines": "apdraw_cli train tests benchmarks",
    "engines.options": "engines.select engines.tensorrt engines.openvino_engine engines.torch_engine",
    "train": "apdraw_cli tests benchmarks",
    "apdraw_cli": "tests benchmarks",
    "train.networks": "engines train except engines.portrait train.networks",
    "train.npr": "train except train.npr",
    "train.artist": "train except train.artist train.npr",
    "train.evaluation": "train except train.evaluation train.data train.contact_sheet",
    "apdraw_cli.faces": "train apdraw_cli except apdraw_cli.faces apdraw_cli.timing",
    "apdraw_cli.conversion": "train apdraw_cli.app apdraw_cli.cli apdraw_cli.commands apdraw_cli.console "
    "apdraw_cli.datasets apdraw_cli.progress",
    "apdraw_cli.datasets": "apdraw_cli.app apdraw_cli.cli apdraw_cli.commands apdraw_cli.console apdraw_cli.progress",
    "apdraw_cli.api": "train apdraw_cli.app apdraw_cli.cli apdraw_cli.console apdraw_cli.own_process",
    "apdraw_cli.gallery": "train apdraw_cli except apdraw_cli.gallery apdraw_cli.conversion apdraw_cli.faces.align "
    "apdraw_cli.__version__",
    "apdraw_cli.serving": "train apdraw_cli except apdraw_cli.serving apdraw_cli.conversion apdraw_cli.__version__",
    "apdraw_cli.commands": "apdraw_cli.app apdraw_cli.cli apdraw_cli.console apdraw_cli.progress",
    "apdraw_cli.console": "train apdraw_cli except apdraw_cli.terminal_text apdraw_cli.__version__",
}
"""What the modules below a name import neither on top nor in a function; after `except`, what of it they may."""


SPANNING = """
    cli/test_contract cli/test_exit_codes cli/test_offline cli/test_trials conversion/executors/test_executors
    conversion/formats/test_formats conversion/formats/test_vectors conversion/storage/test_storage
    conversion/test_faults conversion/test_one_photo conversion/test_run_ends conversion/test_runs_again
    conversion/test_trust engines/tensorrt/test_library_names engines/tensorrt/test_machines
    engines/test_agreement engines/test_engines gpu/test_gpu test_architecture test_containers test_docs
    test_page_commands train/artist/test_parts train/networks/test_golden train/networks/test_networks
    train/test_processes
"""
"""Tests of what several modules do together, or each of a kind."""


@dataclass(frozen=True)
class Import:
    """A name that a module imports, as written: `engines.portrait.SIZE`."""

    name: str
    on_top: bool
    """When the module itself is imported: not in a function, and not for type checkers alone."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_below(node: ast.AST, *, on_top: bool = True) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, on_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (Import(f"{child.module}.{alias.name}", on_top) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from (one for part in child.body for one in imports_below(ast.Module([part], []), on_top=False))
            yield from (one for part in child.orelse for one in imports_below(ast.Module([part], []), on_top=on_top))
        else:
            runs_later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_below(child, on_top=on_top and not runs_later)


SOURCES = {module_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


@functools.cache
def imports() -> dict[str, list[Import]]:
    """What each module imports."""
    return {
        module: list(imports_below(ast.parse(path.read_text(encoding="utf-8")))) for module, path in SOURCES.items()
    }


def lies_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def own_module(name: str) -> str | None:
    """The module of ours that a name is, or is in; None for names of libraries."""
    while name and name not in SOURCES:
        name = name.rpartition(".")[0]
    return name or None


def loaded_on_top() -> dict[str, set[str]]:
    """What each module imports when it is imported itself: modules of ours, and the names of libraries."""
    return {
        module: {own_module(one.name) or one.name.partition(".")[0] for one in found if one.on_top}
        for module, found in imports().items()
    }


def ways_from(module: str, loaded: dict[str, set[str]]) -> dict[str, list[str]]:
    """All that importing a module imports, also by way of others, and through which modules."""
    ways = {module: [module]}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        packages = {package for package in SOURCES if lies_in(name, package)}  # they come before what is in them
        for other in sorted((loaded.get(name, set()) | packages) - ways.keys()):
            ways[other] = [*ways[name], other]
            waiting.append(other)
    return ways


def test_the_sources_are_read() -> None:
    assert {"apdraw_cli.app", "engines.portrait", "train.loop"} <= SOURCES.keys()
    assert Import("typer", True) in imports()["apdraw_cli.app"]
    assert any(one.name.startswith("torch") and not one.on_top for one in imports()["engines.torch_engine"])


@pytest.mark.parametrize("package", WALLS)
def test_arrows_point_one_way(package: str) -> None:
    barred, _, allowed = WALLS[package].partition(" except ")
    modules = [module for module in SOURCES if lies_in(module, package)]
    assert modules, f"there is no {package}: mend WALLS"
    breaches = [
        f"{module} imports {one.name}"
        for module in modules
        for one in imports()[module]
        if any(lies_in(one.name, name) for name in barred.split())
        and not any(lies_in(one.name, name) for name in allowed.split())
    ]
    assert not breaches


def test_walls_name_what_there_is() -> None:
    named = {name for text in WALLS.values() for name in text.split()} - {
        "except",
        "tests",
        "benchmarks",
        "apdraw_cli.__version__",
    }
    assert named <= SOURCES.keys()


def test_no_module_waits_for_itself() -> None:
    TopologicalSorter(loaded_on_top()).prepare()


def test_what_is_slow_or_may_be_missing_is_imported_where_it_is_used() -> None:
    loaded = loaded_on_top()
    breaches = {
        " -> ".join(way)
        for module in SOURCES
        if not lies_in(module, "train")
        for name, way in ways_from(module, loaded).items()
        if name in ON_USE.split()
    }
    assert not breaches


def test_the_page_names_files_that_there_are() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {*re.findall(r"(?:apdraw_cli|engines|train|tests)/[\w/]+\.py", page)}
    assert len(named) > 10
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_tests_lie_where_their_modules_do() -> None:
    tops = {"benchmarks": ROOT / "benchmarks", "engines": ROOT / "engines", "train": ROOT / "train"}
    lost = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        below = path.relative_to(ROOT / "tests")
        if below.parts[0] in tops:
            module = tops[below.parts[0]].joinpath(*below.parts[1:])
        else:
            module = ROOT / "apdraw_cli" / below
        module = module.with_name(path.stem.removeprefix("test_"))
        known = (module.with_suffix(".py"), module, module.with_name(f"__{module.name}__.py"))
        if str(below.with_suffix("")) not in SPANNING.split() and not any(place.exists() for place in known):
            lost.add(str(below))
    assert lost == set()
