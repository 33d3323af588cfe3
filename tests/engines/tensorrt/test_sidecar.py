import dataclasses
import json

import pytest

from engines.errors import EngineError, ModelFileError
from engines.model_info import sha256
from engines.tensorrt.sidecar import Sidecar, check_fits, read_sidecar, sidecar_path, this_platform, write_sidecar

HERE = {
    "flavor": "tensorrt-rtx",
    "version": "1.7.1.116",
    "platform": "linux-x86_64",
    "compute_capability": "8.9",
}


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "face.engine"
    path.write_bytes(b"kernels")
    return path


@pytest.fixture
def sidecar(engine):
    return Sidecar(
        flavor="tensorrt-rtx",
        version="1.7.1.116",
        compute_capabilities=("8.6", "8.9"),
        platform="linux-x86_64",
        onnx_sha256="ab" * 32,
        engine_sha256=sha256(engine),
        batch_size=8,
        precision="fp16",
        layers={"HALF": 20, "FLOAT": 40},
        options={"workspace_mib": "512"},
        model={"name": "face", "precision": "fp16"},
    )


def test_it_lies_beside_the_engine_and_is_read_as_it_was_written(engine, sidecar):
    write_sidecar(engine, sidecar)
    assert sidecar_path(engine).name == "face.engine.json"
    assert read_sidecar(engine) == sidecar
    assert {file.name for file in engine.parent.iterdir()} == {"face.engine", "face.engine.json"}
    assert json.loads(sidecar_path(engine).read_text())["compute_capabilities"] == ["8.6", "8.9"]


def test_the_platform_is_system_and_processor(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    assert this_platform() == "windows-amd64"


def told(function, *arguments, **options):
    with pytest.raises(EngineError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "; rebuild with: apdraw build-engine MODEL.onnx " in message
    return caught.value


def test_a_missing_sidecar_is_told(engine):
    error = told(read_sidecar, engine)
    assert isinstance(error, ModelFileError)
    assert "there is no " in str(error)
    assert str(error).endswith(f"apdraw build-engine MODEL.onnx {engine}")


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "nothing", b"\xff\xfe"])
def test_a_sidecar_that_is_no_json_is_told(engine, content):
    sidecar_path(engine).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "is not JSON" in str(told(read_sidecar, engine))


@pytest.mark.parametrize("content", ["[]", "7", "{}", '{"format_version": 2}', '{"format_version": "1"}'])
def test_a_sidecar_of_another_version_is_told(engine, content):
    sidecar_path(engine).write_text(content)
    assert "this program reads 1" in str(told(read_sidecar, engine))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flavor", None),
        ("version", 1.7),
        ("compute_capabilities", "8.9"),
        ("compute_capabilities", [8.9]),
        ("batch_size", True),
        ("layers", {"HALF": "many"}),
        ("model", ["name"]),
        ("engine_sha256", ...),
    ],
)
def test_a_damaged_sidecar_is_told(engine, sidecar, field, value):
    values = dataclasses.asdict(sidecar) | {field: value}
    if value is ...:
        del values[field]
    sidecar_path(engine).write_text(json.dumps(values))
    assert f"is damaged: its {field!r}" in str(told(read_sidecar, engine))


def test_an_unreadable_sidecar_is_told(engine):
    sidecar_path(engine).mkdir()
    assert "cannot read" in str(told(read_sidecar, engine))


def test_an_engine_that_fits_is_let_through(engine, sidecar):
    check_fits(sidecar, engine, **HERE)
    check_fits(sidecar, engine, **HERE | {"compute_capability": "8.6"})


@pytest.mark.parametrize(
    ("here", "words"),
    [
        ({"flavor": "tensorrt"}, "built for tensorrt-rtx, and tensorrt is"),
        ({"version": "1.8.0"}, "built for tensorrt-rtx 1.7.1.116, and 1.8.0 is"),
        ({"platform": "windows-amd64"}, "built for linux-x86_64, and this is windows-amd64"),
        ({"compute_capability": "12.0"}, "of compute capability 8.6, 8.9, and the one here has 12.0"),
        ({"compute_capability": "8"}, "the one here has 8"),
    ],
)
def test_what_was_built_for_something_else_is_refused(engine, sidecar, here, words):
    error = told(check_fits, sidecar, engine, **HERE | here)
    assert words in str(error)
    assert not isinstance(error, ModelFileError)  # another engine may well draw the model
    flavor = here.get("flavor", "tensorrt-rtx")
    assert str(error).endswith(f"apdraw build-engine MODEL.onnx {engine} --flavor {flavor} --batch-size 8")


@pytest.mark.parametrize("content", [b"kernelz", b"kernel", b""])
def test_a_damaged_or_swapped_engine_is_refused(engine, sidecar, content):
    engine.write_bytes(content)
    error = told(check_fits, sidecar, engine, **HERE)
    assert isinstance(error, ModelFileError)
    assert "is damaged, or not the engine that" in str(error)


def test_a_missing_engine_is_told(engine, sidecar):
    engine.unlink()
    with pytest.raises(ModelFileError, match=r"cannot read .*face\.engine"):
        check_fits(sidecar, engine, **HERE)
