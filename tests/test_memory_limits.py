"""Where there is too little memory to load the libraries, a command says so and does not crash."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from apdraw_cli import memory_limits
from apdraw_cli.memory_limits import LEAST_MEMORY, check_memory, memory_limit
from engines.errors import UnfitError


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space")
@pytest.mark.parametrize(
    "arguments",
    ["convert photos", "prepare photos dataset --npr", "train dataset --output run", "bench photos", "doctor"],
)
@pytest.mark.parametrize("limit", [400_000, 900_000])
def test_too_little_address_space_is_one_line(arguments: str, limit: int, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v {limit}; exec {sys.executable} -m apdraw_cli {arguments}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == (
        f"apdraw: error: only {limit * 1024 / 1e9:.1f} GB of memory may be taken (ulimit -v): allow 2.5 GB or more\n"
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="has no control groups")
@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": "300000000\n"}, 300_000_000),
        ("0::/a/b\n", {"a/memory.max": "200000000\n", "a/b/memory.max": "max\n"}, 200_000_000),
        ("5:cpu:/x\n4:memory:/docker/1\n", {"memory/memory.limit_in_bytes": "100000000\n"}, 100_000_000),
        ("4:memory:/a\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "100000000\n"}, 100_000_000),
        ("5:cpu:/x\n", {"memory/memory.limit_in_bytes": "100000000\n"}, None),
    ],
)
def test_what_a_container_allows(
    groups: str, limits: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(groups)
    monkeypatch.setattr(memory_limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory_limits, "OWN_GROUPS", tmp_path / "own")
    assert memory_limit() == (expected or psutil.virtual_memory().total)


@pytest.mark.parametrize(("memory", "warned"), [(LEAST_MEMORY - 1, True), (LEAST_MEMORY, False)])
def test_little_memory_is_warned_of(memory: int, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limits, "memory_limit", lambda: memory)
    monkeypatch.setattr(memory_limits, "address_space_limit", lambda: None)
    told: list[str] = []
    check_memory(told.append)
    assert len(told) == warned
    monkeypatch.setattr(memory_limits, "address_space_limit", lambda: 10**8)
    with pytest.raises(UnfitError, match="ulimit -v"):
        check_memory(told.append)
