"""What `apdraw doctor` tells on machines of all kinds, and what it tells to do."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_cuda import FakeCuda, cudaError_t
from fake_tensorrt import FakeTensorRT, install, write_engine
from typer.testing import CliRunner, Result

import apdraw_cli
from apdraw_cli import app
from apdraw_cli.commands.doctor import doctor as diagnose
from engines import select
from engines.installed import pip_install
from engines.select import ENGINES, fast_on_cpu, read_model, shipped_model
from engines.tensorrt import cuda
from engines.tensorrt.cuda import Gpu
from engines.tensorrt.sidecar import sidecar_path

GPUS = (Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA T4", "7.5"))


def doctor(*arguments: str | Path) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app.app, ["doctor", *map(str, arguments)], prog_name="apdraw")
    assert result.stderr == ""
    return result


def section(text: str, title: str) -> dict[str, str]:
    """The lines below a title, by their first word."""
    lines = text.split(f"\n{title}\n")[1].split("\n\n")[0].splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without a driver, a GPU or a library for one; returns an empty folder."""
    monkeypatch.setattr(cuda, "in_container", lambda: False)
    for module in ("tensorrt", "tensorrt_rtx", cuda.RUNTIME):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("engines.installed.version_of", lambda name: None if "cuda" in name else "1.0")
    show(monkeypatch, ())
    monkeypatch.setattr(cuda, "driver_version", lambda: None)
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("apdraw_cli.commands.doctor.import_faults", lambda modules: {})
    monkeypatch.setattr("apdraw_cli.commands.doctor.drawing_fault", lambda arguments: None)
    monkeypatch.setattr("train.shared_memory.shared_memory_fault", lambda needed: None)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def show(monkeypatch: pytest.MonkeyPatch, gpus: tuple[Gpu, ...]) -> None:
    monkeypatch.setattr(cuda, "find_gpus", lambda: gpus)
    monkeypatch.setattr(select, "find_gpus", lambda: gpus)
    monkeypatch.setattr(cuda, "driver_version", lambda: "580.65.06 (CUDA 13.0)")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, bare: Path) -> FakeCuda:
    """A machine with two GPUs, cuda-bindings and TensorRT."""
    show(monkeypatch, GPUS)
    fake = FakeCuda(capabilities=["8.9", "7.5"])
    install(monkeypatch, fake, FakeTensorRT(fake))
    monkeypatch.setattr("engines.installed.version_of", lambda name: "1.0")
    monkeypatch.setattr("engines.tensorrt.library.installed_version", lambda flavor: "11.4.0")
    return fake


def test_on_a_machine_without_a_gpu_nothing_is_missing_for_drawing(bare: Path) -> None:
    result = doctor()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[-2:] == ["apdraw convert can draw here, with openvino on cpu.", "Next: apdraw convert FOLDER"]
    precision = fast_on_cpu(read_model(shipped_model()))
    assert section(result.stdout, "Parts")["generator"].endswith(f"on this CPU in {precision}")
    assert "(auto takes it)" in section(result.stdout, "Engines")["openvino"]
    assert section(result.stdout, "Engines")["tensorrt"].endswith("the NVIDIA driver shows no GPU here")
    assert "install its driver: https://www.nvidia.com/drivers" in section(result.stdout, "GPU")["NVIDIA"]
    assert pip_install("tensorrt-rtx") not in result.stdout  # of no use here
    assert list(section(result.stdout, "GPU")) == ["NVIDIA"]
    assert section(result.stdout, "Trial") == {"sample": "- drawn on cpu"}
    assert "What is missing" not in result.stdout
    assert str(bare) in section(result.stdout, "Folders")["output"]
    assert [*bare.iterdir()] == []
    assert not (bare.parent / "cache").exists()


def test_a_container_without_a_driver_is_told_how_to_start_it(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setattr(cuda, "in_container", lambda: True)
    told = section(doctor().stdout, "GPU")["NVIDIA"]
    assert "--gpus all" in told
    assert "install its driver" not in told


def test_a_driver_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setattr(cuda, "driver_fault", lambda: "the NVIDIA driver does not start: why 803; restart")
    stdout = doctor().stdout
    assert "why 803; restart" in section(stdout, "GPU")["NVIDIA"]
    assert "why 803; restart" in section(stdout, "Engines")["tensorrt"]


def test_on_a_machine_with_a_gpu_and_nothing_for_it_the_commands_are_told(
    monkeypatch: pytest.MonkeyPatch, bare: Path
) -> None:
    show(monkeypatch, GPUS)
    monkeypatch.setattr("engines.installed.version_of", lambda name: None)
    result = doctor()
    assert result.exit_code == 0
    assert section(result.stdout, "GPU")["NVIDIA"] == "driver 580.65.06 (CUDA 13.0) shows 2 GPUs"
    assert section(result.stdout, "GPU")["cuda:1"] == "- NVIDIA T4, compute capability 7.5"
    missing = section(result.stdout, "What is missing, and how to get it")
    assert missing["tensorrt"] == pip_install("tensorrt-rtx")
    assert missing["cuda-bindings"] == "python -m pip install cuda-bindings"
    assert "python -m pip install 'onnxruntime-gpu[cuda,cudnn]'" in missing["onnxruntime"]
    assert result.stdout.splitlines()[-3:] == [
        "apdraw convert can draw here, with openvino on cpu.",
        "Next: apdraw convert FOLDER",
        f"Next: {pip_install('tensorrt-rtx')}   for the fastest engine on this GPU",
    ]


def test_on_a_machine_with_everything_tensorrt_is_taken(gpu: FakeCuda) -> None:
    result = doctor()
    assert result.exit_code == 0
    assert "can draw here, with tensorrt on cuda:0." in result.stdout
    assert section(result.stdout, "Engines")["tensorrt"] == "tensorrt 11.4.0 draws on cuda:0, cuda:1 (auto takes it)"
    assert section(result.stdout, "GPU")["cuda-bindings"].endswith("GPUs found: 2")
    assert section(result.stdout, "GPU")["tensorrt_rtx"] == "- not installed; tensorrt is there instead"


def test_a_driver_that_is_too_old_is_told(gpu: FakeCuda) -> None:
    gpu.fail["cudaGetDeviceCount"] = cudaError_t.cudaErrorInsufficientDriver
    text = doctor().stdout
    assert "text of cudaErrorInsufficientDriver" in section(text, "GPU")["cuda-bindings"]
    missing = section(text, "What is missing, and how to get it")
    assert missing["cuda-bindings"] == "update the NVIDIA driver: https://www.nvidia.com/drivers"


def test_an_engine_that_fits(gpu: FakeCuda, tmp_path: Path) -> None:
    path = write_engine(tmp_path / "a.engine", shipped_model())
    result = doctor("--model", path)
    assert result.exit_code == 0
    assert section(result.stdout, "Model")["a.engine"].endswith("fits cuda:0")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"compute_capabilities": ("12.0",)},
            "for GPUs of compute capability 12.0, and the one here has 8.9",
        ),
        ({"version": "10.9.0"}, "was built for tensorrt 10.9.0, and 11.4.0 is what is installed here"),
        ({"engine_sha256": "0" * 64}, "is damaged, or not the engine that"),
    ],
)
def test_an_engine_that_does_not_fit(gpu: FakeCuda, tmp_path: Path, changes: dict[str, object], words: str) -> None:
    path = write_engine(tmp_path / "a.engine", shipped_model(), **changes)
    result = doctor("--model", path)
    assert result.exit_code == 3
    assert words in section(result.stdout, "Model")["a.engine"]
    assert "apdraw build-engine MODEL.onnx" in section(result.stdout, "What is missing, and how to get it")["a.engine"]
    assert "apdraw convert cannot draw" in result.stdout.splitlines()[-1]


def test_an_engine_where_there_is_no_gpu(bare: Path, tmp_path: Path) -> None:
    path = write_engine(tmp_path / "a.engine", shipped_model())
    result = doctor("--model", path)
    assert result.exit_code == 3
    assert "needs tensorrt 11.4.0, which is not installed" in section(result.stdout, "Model")["a.engine"]
    sidecar_path(path).unlink()
    assert "there is no" in section(doctor("--model", path).stdout, "Model")["a.engine"]


def test_a_model_of_another_kind_or_none(bare: Path, tmp_path: Path) -> None:
    result = doctor("--model", shipped_model())
    assert result.exit_code == 0
    assert "fp32" in section(result.stdout, "Model")["apdraw.onnx"]
    result = doctor("--model", tmp_path / "none.onnx")
    assert result.exit_code == 3
    assert "there is no model" in result.stdout.splitlines()[-1]


def test_folders_are_tried_and_left_as_they_were(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = doctor("--output", tmp_path / "new" / "drawings")
    assert result.exit_code == 0
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    result = doctor("--output", tmp_path / "file" / "drawings")
    assert result.exit_code == 3
    assert "it is no folder" in result.stdout.splitlines()[-1]
    monkeypatch.setenv("APDRAW_CACHE", str(tmp_path / "file"))
    result = doctor()
    assert result.exit_code == 0  # only engines for GPUs go there, and there is no GPU
    assert "set APDRAW_CACHE" in section(result.stdout, "Optional, and how to get it")["cache"]
    show(monkeypatch, GPUS)
    assert "set APDRAW_CACHE" in section(doctor().stdout, "What is missing, and how to get it")["cache"]


def test_a_package_that_is_broken_is_told_with_what_mends_it(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    fault = "libGL.so.1: cannot open shared object file: No such file or directory"
    monkeypatch.setattr(
        "apdraw_cli.commands.doctor.import_faults", lambda modules: {"cv2": fault, "torch": "undefined"}
    )
    result = doctor()
    assert result.exit_code == 3
    assert fault in section(result.stdout, "Parts")["opencv-python-headless"]
    missing = section(result.stdout, "What is missing, and how to get it")
    assert missing["opencv-python-headless"].startswith("python -m pip uninstall --yes opencv-python ")
    assert "torch" not in missing
    assert "--force-reinstall torch safetensors" in section(result.stdout, "Optional, and how to get it")["torch"]
    assert "opencv-python-headless must be installed" in result.stdout.splitlines()[-1]


def test_what_is_optional_is_called_so(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setattr("apdraw_cli.commands.doctor._is_installed", lambda module: module != "pillow_heif")
    result = doctor()
    assert result.exit_code == 0
    assert section(result.stdout, "Parts")["pillow-heif"] == "- not installed; optional: reads HEIC photos"
    assert section(result.stdout, "Optional, and how to get it")["pillow-heif"] == "python -m pip install pillow-heif"
    assert "What is missing" not in result.stdout


def test_a_sample_that_cannot_be_drawn_is_told(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setattr("apdraw_cli.commands.doctor.drawing_fault", lambda arguments: "the face detector is broken")
    result = doctor()
    assert result.exit_code == 3
    assert section(result.stdout, "Trial")["sample"] == "- could not be drawn: the face detector is broken"
    assert result.stdout.splitlines()[-1] == "apdraw convert cannot draw: the face detector is broken"


def test_too_little_shared_memory_is_told_and_needed_by_training_only(
    monkeypatch: pytest.MonkeyPatch, bare: Path
) -> None:
    monkeypatch.setattr("train.shared_memory.shared_memory_fault", lambda needed: "/dev/shm has 64 MB free")
    result = doctor()
    assert result.exit_code == 0
    assert "64 MB free; apdraw train may then read" in section(result.stdout, "Folders")["shared"]
    assert "--shm-size" in section(result.stdout, "Optional, and how to get it")["shared"]


def test_sections_are_told_as_they_are_found(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    told: list[str] = []

    def faults(modules: Sequence[str]) -> dict[str, str]:
        told.append("packages are tried")
        return {}

    monkeypatch.setattr("apdraw_cli.commands.doctor.import_faults", faults)
    diagnose(tell=lambda section, rows: told.append(section if rows is None else f"{section}: {len(rows) > 0}"))
    assert told == [
        *("Engines", "Engines: True", "GPU", "GPU: True", "Parts", "packages are tried", "Parts: True"),
        *("Folders", "Folders: True", "Trial", "Trial: True"),
    ]


def test_as_json(gpu: FakeCuda, tmp_path: Path) -> None:
    path = write_engine(tmp_path / "a.engine", shipped_model())
    result = doctor("--json", "--model", path)
    told = json.loads(result.stdout)
    assert [row["name"] for row in told["engines"]] == list(ENGINES)
    assert told["picked"] == "tensorrt on cuda:0"
    assert told["model"]["name"] == "a.engine"
    assert [row["name"] for row in told["folders"]] == ["output", "cache"]
    assert {"NVIDIA driver", "cuda:0", "cuda:1", "cuda-bindings"} <= {row["name"] for row in told["gpu"]}
    assert told["trouble"] is None


def test_doctor_names_every_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apdraw_cli.commands.doctor.import_faults", lambda modules: {})  # tried in the next test
    monkeypatch.setattr("apdraw_cli.commands.doctor.drawing_fault", lambda arguments: None)
    result = doctor()
    assert result.exit_code in (0, 3)
    assert result.stderr == ""
    for engine in ENGINES:
        assert engine in result.stdout
    assert f"apdraw {apdraw_cli.__version__}" in result.stdout
