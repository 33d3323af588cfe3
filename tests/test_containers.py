"""The Dockerfiles, as far as they can be tried without a container engine."""

import fnmatch
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = sorted((ROOT / "docker").glob("*Dockerfile"))
WANTED = {
    "apdraw_cli/gallery/page.html",
    "apdraw_cli/serving/docs.html",
    "engines/weights/apdraw.onnx",
    "engines/weights/retinaface.onnx",
    "engines/weights/segmenter.onnx",
}
FORBIDDEN = re.compile(r"^(\.git|\.venv|tests|benchmarks|docs|samples|build|runs)/|(^|/)__pycache__/")

PACKED_LONG = {".onnx", ".safetensors"}
"""Files of weights. Only names in the wheel are looked at, and to pack what is in these takes most of the time."""


def allowed() -> list[str]:
    """What `.dockerignore` lets through: paths at the top, after a line that leaves out all."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    return [line[1:] for line in lines if line.startswith("!")]


def is_sent(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in allowed())


def test_there_are_two() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile", "cpu.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_is_there_and_sent(path: Path) -> None:
    text = path.read_text()
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.+)$", text, flags=re.MULTILINE) for word in line.split()[:-1]
    ]
    copied += re.findall(r"type=bind,source=([^,\s]+)", text)
    assert {"pyproject.toml", "apdraw_cli", "engines", "train", "docker/constraints.txt"} <= {*copied}
    for name in copied:
        assert (ROOT / name).exists(), name
        assert is_sent(name), f".dockerignore holds {name} back"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_no_image_runs_as_root_or_keeps_the_sources(path: Path) -> None:
    last = path.read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER apdraw$", last, flags=re.MULTILINE)
    assert "COPY" not in last
    assert "--constraint" in last


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of the first stage, built out of what is sent to it."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("context")
    tracked = subprocess.run(("git", "ls-files"), cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    names = [name for name in tracked if name and is_sent(name)]
    if not names:
        pytest.skip("needs a clone of the repository")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if Path(name).suffix in PACKED_LONG:
            (folder / name).touch()
        else:
            shutil.copy(ROOT / name, folder / name)
    built = subprocess.run(
        (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheels")),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = (folder / "wheels").glob("apdraw-*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_all_that_is_needed_and_no_more(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert names >= WANTED
    assert [name for name in names if FORBIDDEN.search(name)] == []
    assert fnmatch.filter(names, "*.dist-info/licenses/*")


def test_every_package_has_a_version_that_is_allowed(wheel: zipfile.ZipFile) -> None:
    requirements = pytest.importorskip("packaging.requirements")
    utils = pytest.importorskip("packaging.utils")
    (metadata,) = fnmatch.filter(wheel.namelist(), "*.dist-info/METADATA")
    needed = message_from_string(wheel.read(metadata).decode()).get_all("Requires-Dist") or []
    pins = {}
    for line in (ROOT / "docker" / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[utils.canonicalize_name(name)] = version
    checked = 0
    for text in needed:
        requirement = requirements.Requirement(text)
        extras = ("", "heic", "serve")
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        version = pins[utils.canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), text
        checked += 1
    assert checked > 15
