"""What is told of installed packages, and how to install others."""

import importlib.metadata
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from engines.installed import pip_install

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


@pytest.mark.parametrize("extra", ["heic", "torch", "export", "train", "tensorrt", "tensorrt-rtx"])
def test_the_packages_of_an_extra_are_named(extra: str) -> None:
    try:
        importlib.metadata.requires("apdraw")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("apdraw is not installed")
    python, dash, module, verb, *packages = shlex.split(pip_install(extra))
    assert (python, dash, module, verb) == ("python", "-m", "pip", "install")
    named = {re.split(r"[<>=\[]", package)[0] for package in packages}
    wanted = {re.split(r"[<>=\[]", package)[0] for package in EXTRAS[extra]}
    assert wanted - {"apdraw"} <= named
    assert "apdraw" not in named  # it is on no index


def test_in_a_clone_the_extra_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    assert shlex.split(pip_install("heic")) == ["python", "-m", "pip", "install", ".[heic]"]
