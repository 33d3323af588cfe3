"""Which package may import which: `apdraw_cli` uses `train` and `engines`, `train` uses `engines`, and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("apdraw_cli", "train", "engines")
HEAVY = {"torch", "torchmetrics", "torchvision", "lightning_fabric", "tensorboard", "safetensors", "onnx", "onnxscript"}
"""Packages that only extras bring, and that take seconds to import."""

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Names of modules that a syntax tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where an arrow points"
            yield str(node.module)


def at_import(tree: ast.Module) -> ast.Module:
    """What runs when a module is imported: its functions and what is there for type checkers are left out."""

    def kept(body: list[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            if isinstance(node, ast.ClassDef):
                node.body = kept(node.body) or [ast.Pass()]
            found.append(node)
        return found

    return ast.Module(kept(tree.body), [])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_arrows_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = PACKAGES[PACKAGES.index(package) :]
    used = {name.partition(".")[0] for name in imports(ast.parse(path.read_text(encoding="utf-8")))}
    assert used & set(PACKAGES) <= set(allowed)
    assert not used & {"tests", "benchmarks"}


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.relative_to(ROOT).parts[0] != "train"],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_nothing_that_an_extra_brings_is_imported_before_it_is_needed(path: Path) -> None:
    used = {name.partition(".")[0] for name in imports(at_import(ast.parse(path.read_text(encoding="utf-8"))))}
    assert not used & HEAVY


def test_networks_know_nothing_of_training() -> None:
    for path in (ROOT / "train/networks").glob("*.py"):
        for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if name.partition(".")[0] in PACKAGES:
                assert name.startswith(("train.networks", "engines.portrait")), f"{path} imports {name}"
