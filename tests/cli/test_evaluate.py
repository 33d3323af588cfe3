import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from evaluation_fakes import drawing, grid_features, make_dataset, write
from typer.testing import CliRunner, Result

from apdraw_cli.app import app
from apdraw_cli.commands.drawings_elsewhere import folder_drawer
from engines.errors import EngineError, FeaturesError
from engines.installed import pip_install
from engines.select import shipped_model
from train.evaluation.fid import WEIGHTS

NAMES = ["one", "two", "three"]


def apdraw(*arguments: Any) -> Result:
    return CliRunner(env={"COLUMNS": "110"}).invoke(app, ["evaluate", *map(str, arguments)], prog_name="apdraw")


def error_line(result: Result) -> str:
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("apdraw: error: ")
    return line


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("evaluate") / "dataset", NAMES)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Drawings made elsewhere: those of the data set, in three kinds of files."""
    folder = tmp_path / "others"
    folder.mkdir()
    write(folder / "one.png", drawing(0))
    write(folder / "two_fake_B.png", np.repeat(drawing(1)[..., None], 3, axis=2))
    write(folder / "two_real_A.png", np.zeros((512, 512, 3), np.uint8))
    white_on_nothing = np.zeros((512, 512, 4), np.uint8)
    white_on_nothing[..., 3] = 255 - drawing(2)  # black where it is opaque
    write(folder / "three.png", white_on_nothing)
    return folder


@pytest.fixture(autouse=True)
def no_fid(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed."""
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)


def test_the_shipped_model(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "evaluation"
    result = apdraw(shipped_model(), dataset, "--limit", "2", "--output", output)
    assert (result.exit_code, result.stderr) == (0, "")
    for told in (
        *("split val: measured 2 of 3 portraits, drawn with", "L1", "SSIM", "Chamfer", "Two-tone", "Background"),
        *("CycleGAN", "87.82", "75.30", "62.14", "49.72", "70 test pairs", "not measured", pip_install("fid")),
    ):
        assert told in result.stdout, told
    sheet = cv2.imread(str(output / "worst.png"))
    assert sheet is not None
    assert sheet.shape[0] < sheet.shape[1]
    report = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    assert [portrait["name"] for portrait in report["portraits"]] == NAMES[:2]
    assert report["fid"] is None
    assert set(report["worst"]) == set(NAMES[:2])
    assert 0 < report["mean"]["l1"] < 1
    assert report["mean"]["ssim"] < 0.9
    assert report["mean"]["chamfer"] > 0
    assert report["mean"]["l1"] == pytest.approx(np.mean([p["scores"]["l1"] for p in report["portraits"]]))


def test_drawings_made_elsewhere(dataset: Path, others: Path, tmp_path: Path) -> None:
    result = apdraw(others, dataset, "--json", "--output", tmp_path / "evaluation")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    written = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    assert written.items() <= report.items()
    assert report["engine"] is None
    assert report["measured"] == 3
    assert report["mean"]["l1"] == 0
    assert report["mean"]["chamfer"] == 0
    assert report["mean"]["ssim"] == pytest.approx(1, abs=1e-6)
    assert report["left_out"] == []


def test_drawings_that_cannot_be_measured(dataset: Path, others: Path) -> None:
    (others / "one.png").write_bytes(b"no picture")
    write(others / "three.png", drawing(2)[:256])
    result = apdraw(others, dataset)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert "measured 1 of 3 portraits" in lines[0]
    told = lines[lines.index("Not measured:") + 1 :]
    assert told[0].startswith("  one    one.png: not a picture")
    assert told[1] == "  three  three.png is 512 x 256, not 512 x 512"

    write(others / "two_fake_B.jpg", drawing(1))
    (others / "one.png").unlink()
    write(others / "three.png", drawing(2))
    report = json.loads(apdraw(others, dataset, "--json").stdout)
    assert report["left_out"] == [
        {"name": "one", "reason": "the folder holds no drawing of it"},
        {"name": "two", "reason": "the folder holds several drawings of it: two_fake_B.jpg, two_fake_B.png"},
    ]


def test_a_folder_without_drawings_of_these_portraits(dataset: Path, tmp_path: Path) -> None:
    write(tmp_path / "somebody.png", drawing(0))
    result = apdraw(tmp_path, dataset)
    assert result.exit_code == 2
    assert "one.png" in error_line(result)


def test_nothing_that_can_be_measured(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"no picture")
    result = apdraw(tmp_path, dataset, "--output", tmp_path / "evaluation")
    assert result.exit_code == 2
    assert "none of the 3 portraits could be measured; one: one.png" in error_line(result)


def test_a_model_or_data_set_that_is_none(dataset: Path, tmp_path: Path) -> None:
    result = apdraw(tmp_path / "none.onnx", dataset, "--output", tmp_path / "evaluation")
    assert result.exit_code == 3
    assert "none.onnx" in error_line(result)
    result = apdraw(shipped_model(), tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path) in error_line(result)
    result = apdraw(shipped_model(), dataset, "--split", "train")
    assert result.exit_code == 2
    assert "train" in error_line(result)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_fails(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        name, device, precision, batch_size = "torch", "cpu", "fp32", 2
        closed = False

        def draw(self, batch: Any) -> Any:
            raise EngineError("the device is lost; do something")

        def close(self) -> None:
            self.closed = True

    engine = Failing()
    monkeypatch.setattr("apdraw_cli.commands.evaluate.generator_engine", lambda options, model: engine)
    result = apdraw(shipped_model(), dataset)
    assert result.exit_code == 3
    assert error_line(result).endswith("the device is lost; do something")
    assert engine.closed


def test_fid_is_measured_where_it_can_be(
    dataset: Path, others: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def features(weights: Path | None, device: str) -> Any:
        asked.append((weights, device))
        return grid_features

    monkeypatch.setattr("train.evaluation.fid.inception_features", features)
    write(others / "one.png", 255 - drawing(0))
    table = apdraw(others, dataset, "--device", "cpu").stdout
    report = json.loads(apdraw(others, dataset, "--device", "cpu", "--json").stdout)
    assert report["fid"] > 1
    assert f"{report['fid']:.2f}" in table
    assert "FID over 3 portraits: with fewer than 2048 it is biased upwards" in table
    assert asked == [(None, "cpu")] * 2

    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"mine")
    report = json.loads(apdraw(others, dataset, "--features", weights, "--json").stdout)
    assert asked[-1][0] == weights
    assert any(f"not the usual {WEIGHTS}" in note for note in report["fid_notes"])

    asked.clear()
    table = apdraw(others, dataset, "--no-fid").stdout
    assert asked == []
    assert "--no-fid" in table
    for must in (("--fid",), ("--features", weights)):
        result = apdraw(others, dataset, "--limit", "1", *must)
        assert result.exit_code == 2
        assert "two portraits" in error_line(result)
    table = apdraw(others, dataset, "--limit", "1").stdout
    assert "FID was not measured: it needs two portraits" in table


def test_fid_that_cannot_be_had(dataset: Path, others: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = apdraw(others, dataset, "--fid")
    assert result.exit_code == 3
    assert "FID needs torch-fidelity" in error_line(result)
    assert pip_install("fid") in error_line(result)

    result = apdraw(others, dataset, "--features", tmp_path / "none.pth")
    assert result.exit_code == 3
    assert "none.pth" in error_line(result)

    def offline(weights: Path | None, device: str) -> Any:
        raise FeaturesError("FID's weights cannot be downloaded (no network); name them")

    monkeypatch.setattr("train.evaluation.fid.inception_features", offline)
    result = apdraw(others, dataset)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Not measured: FID's weights cannot be downloaded (no network)" in result.stdout
    assert apdraw(others, dataset, "--fid").exit_code == 3


def test_a_missing_package(dataset: Path, others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    result = apdraw(others, dataset)
    assert result.exit_code == 3
    assert f"evaluating needs torchmetrics; install it with: {pip_install('train')}" in error_line(result)


@pytest.mark.parametrize("option", [("--engine", "openvino"), ("--precision", "fp16")], ids=" ".join)
def test_options_that_a_folder_has_no_use_for(dataset: Path, others: Path, option: tuple[str, str]) -> None:
    result = apdraw(others, dataset, *option)
    assert result.exit_code == 2
    assert f"leave out {option[0]}" in error_line(result)


def test_options_that_contradict_each_other(dataset: Path, others: Path) -> None:
    result = apdraw(others, dataset, "--no-fid", "--features", "weights.pth")
    assert result.exit_code == 2
    assert "--no-fid" in error_line(result)


def test_an_output_that_is_no_folder(dataset: Path, others: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = apdraw(others, dataset, "--output", tmp_path / "file")
    assert result.exit_code == 2
    assert "--output" in error_line(result)


def test_results_are_told_even_if_they_cannot_be_written(dataset: Path, others: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation" / "worst.png").mkdir(parents=True)
    result = apdraw(others, dataset, "--limit", "1", "--output", tmp_path / "evaluation")
    assert result.exit_code == 3
    assert "SSIM" in result.stdout
    assert "cannot write into" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--limit", "0"], ["--split", "test"]], ids=" ".join)
def test_wrong_usage(arguments: list[str], others: Path, dataset: Path) -> None:
    result = apdraw(*([others, dataset, *arguments] if arguments else [others]))
    assert result.exit_code == 2
    assert "Usage" in result.stderr


def test_help() -> None:
    text = apdraw("--help").stdout
    for option in (
        *("--split", "--limit", "--fid", "--features", "--output", "--engine", "--device", "--precision"),
        *("--batch-size", "--json", "--debug", WEIGHTS, "apdraw evaluate generator.onnx dataset", "Exit codes"),
    ):
        assert option in text, option


def test_progress_is_told_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from apdraw_cli.progress import Progress

    now = 0.0
    monkeypatch.setattr("apdraw_cli.progress.LINE_SECONDS", 10.0)
    monkeypatch.setattr("apdraw_cli.progress.time.monotonic", lambda: now)
    with Progress("Evaluating", "portrait") as progress:
        for done in range(1, 9):
            now += 4
            progress(done, 8)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "Evaluating: 3 of 8 portraits, about 20 s left",
        "Evaluating: 6 of 8 portraits, about 8.0 s left",
    ]


def test_names_are_shown_without_what_would_drive_a_terminal(tmp_path: Path) -> None:
    names = ["\x1b[2Jone", "two\nthree\x07", "four\x9b1m"]
    dataset = make_dataset(tmp_path / "dataset", names)
    others = tmp_path / "others"
    others.mkdir()
    write(others / f"{names[0]}.png", drawing(0))
    write(others / f"{names[2]}.png", drawing(0)[:100])
    result = apdraw(others, dataset)
    assert result.exit_code == 1
    assert "one" in result.stdout
    assert "four" in result.stdout
    assert not {character for character in result.stdout + result.stderr if ord(character) < 32} - {"\n"}
    assert "\x9b" not in result.stdout
    assert "two\N{REPLACEMENT CHARACTER}three" in result.stdout


def test_drawings_elsewhere_are_paired_in_any_case_and_however_accents_are_stored(tmp_path: Path) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    for name in ("ANNE\u0301", "Bob_FAKE_b", "carl"):
        write(folder / f"{name}.PNG", drawing(0))
    draw = folder_drawer(folder, ["anne\u0301", "bob", "carl", "dora"])
    found = draw(["ann\u00e9", "bob", "carl", "dora"], None)  # type: ignore[arg-type]
    assert [isinstance(each, np.ndarray) for each in found] == [True, True, True, False]
