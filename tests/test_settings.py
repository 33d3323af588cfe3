"""The settings file: what it may say, what counts more, and what is told where it is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import save_photo

from apdraw_cli import app
from apdraw_cli.settings import Settings, options_of, read_settings
from engines.errors import UsageError

OPTIONS = {command.name: options_of(command.run) for command in app.COMMANDS}


@pytest.fixture
def apdraw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """The program, run in a folder of its own; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("APDRAW_CONFIG", raising=False)
    save_photo(tmp_path / "photos" / "landscape.png", 0)

    def run(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["apdraw", *line.split()])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def written(text: str, name: str = "apdraw.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def in_force(apdraw: Any, line: str = "config") -> dict[str, tuple[Any, str, str | None]]:
    code, out, err = apdraw(f"{line} --json")
    assert (code, err) == (0, "")
    return {each["option"]: (each["value"], each["source"], each["where"]) for each in json.loads(out)["settings"]}


def test_what_is_typed_counts_most_then_the_environment_then_the_file(
    apdraw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "-> landscape.png" in apdraw("convert photos --dry-run")[1]
    written('[convert]\nformat = "webp"\n')
    assert "-> landscape.webp" in apdraw("convert photos --dry-run")[1]
    monkeypatch.setenv("APDRAW_CONVERT_FORMAT", "tiff")
    assert "-> landscape.tif" in apdraw("convert photos --dry-run")[1]
    assert "-> landscape.jpg" in apdraw("convert photos --dry-run --format jpg")[1]


def test_another_file_is_named_on_the_command_line_or_in_the_environment(
    apdraw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written("nonsense = 1")
    written('[convert]\nformat = "webp"\noutput = "out"', "studio/studio.toml")
    assert "-> landscape.webp" in apdraw("convert photos --dry-run --config studio/studio.toml")[1]
    assert in_force(apdraw, "config --config studio/studio.toml")["output"] == (
        str(Path("studio/out").absolute()),
        "file",
        str(Path("studio/studio.toml").absolute()),
    )
    assert apdraw("convert photos --dry-run")[0] == 2
    monkeypatch.setenv("APDRAW_CONFIG", "studio/studio.toml")
    assert "-> landscape.webp" in apdraw("convert photos --dry-run")[1]


def test_values_of_all_kinds_reach_the_command(apdraw: Any) -> None:
    written('quiet = true\n[convert]\nexclude = ["land*", "raw"]\nmin_face = 20\ntime-limit = 1.5\nworkers = 0\n')
    assert apdraw("convert photos")[:2] == (0, "")
    told = in_force(apdraw)
    assert told["exclude"][0] == ["land*", "raw"]
    assert [told[name][:2] for name in ("min-face", "time-limit", "workers", "quiet")] == [
        (20, "file"),
        (1.5, "file"),
        (0, "file"),
        (True, "file"),
    ]
    written("[convert]\njson = true\ndry-run = true\n")
    assert json.loads(apdraw("convert photos")[1])["dry_run"]
    assert json.loads(apdraw("convert none")[1])["error"]["code"] == "usage"


def test_config_tells_where_each_value_comes_from(apdraw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written('device = "cpu"\n[convert]\nfaces = "all"\n').absolute()
    monkeypatch.setenv("APDRAW_CONVERT_FORMAT", "webp")
    told = in_force(apdraw)
    assert told["device"] == ("cpu", "file", str(path))
    assert told["faces"] == ("all", "file", str(path))
    assert told["format"] == ("webp", "environment", "APDRAW_CONVERT_FORMAT")
    assert told["existing"] == ("skip", "default", None)
    assert told.keys() == OPTIONS["convert"].keys()
    assert in_force(apdraw, "config bench")["device"] == ("cpu", "file", str(path))
    lines = [line.split() for line in apdraw("config")[1].splitlines()]
    assert ["device", "cpu", str(path)] in lines
    assert ["format", "webp", "APDRAW_CONVERT_FORMAT"] in lines
    assert ["existing", "skip", "default"] in lines
    assert apdraw("config abacus")[0] == 2


def test_training_takes_its_table_beside_its_own_file(apdraw: Any) -> None:
    written("[train]\nepochs = 7\n")
    assert in_force(apdraw, "config train")["epochs"][:2] == (7, "file")
    written("[train]\nepoch = 7\n")
    code, _, err = apdraw("train none --output run")
    assert (code, "did you mean epochs?" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[convert]\nfacets = 'all'", "apdraw convert has no option facets (did you mean faces?)"),
        ("[convrt]\nfaces = 'all'", "there is no command convrt (did you mean convert?)"),
        ("colour = 'green'", "no command has an option colour"),
        ("[convert]\nquiet = 'yes'", "convert.quiet must be true or false, not 'yes'"),
        ("[convert]\nexclude = '*.gif'", "convert.exclude must be a list of texts"),
        ("[convert]\nworkers = [1]", "convert.workers must be a text or a number"),
        ("[convert]\nfaces = 'none'", "faces must be"),
        ("[convert]\nexisting = 'none'", "(from "),
        ("[convert]\nmin-face = -1", "(from "),
        ("[convert]\ndevice = 'gpu'", "device must be"),
        ("[convert]\nlog-file = 'log'", "name it with --config apdraw.toml"),
        ("[convert]\nmodel = 'x.engine'", "name it with --config apdraw.toml"),
        ("[convert]\nconfig = 'other.toml'", "has no option config"),
        ("[convert", "is no TOML file"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(apdraw: Any, text: str, told: str) -> None:
    written(text)
    code, out, err = apdraw("convert photos --dry-run")
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1
    assert json.loads(apdraw("convert photos --json")[1])["exit_code"] == 2


def test_a_wrong_value_is_told_with_where_it_comes_from(apdraw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written("[convert]\nexisting = 'none'").absolute()
    assert f"(from {path})" in apdraw("convert photos")[2]
    monkeypatch.setenv("APDRAW_CONVERT_WORKERS", "many")
    assert "(from APDRAW_CONVERT_WORKERS of the environment)" in apdraw("convert photos --existing skip")[2]
    assert "(from" not in apdraw("convert photos --existing none")[2]


def test_help_is_shown_whatever_the_file_holds(apdraw: Any) -> None:
    written("[convert")
    assert apdraw("convert --help")[0] == 0
    assert apdraw("--version")[0] == 0


def test_a_named_file_may_say_all(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[convert]\noutput = 's3://bucket/out'\n")
    assert read_settings(path, OPTIONS)["convert"] == {"output": "s3://bucket/out"}
    path.write_text("[convert]\nlog-file = 'log'\nmodel = 'x.engine'\noutput = '/srv/out'\n")
    assert read_settings(path, OPTIONS)["convert"] == {
        "log_file": str(tmp_path / "log"),
        "model": str(tmp_path / "x.engine"),
        "output": "/srv/out",
    }
    with pytest.raises(UsageError, match="cannot read"):
        Settings(OPTIONS).of(tmp_path / "none.toml")


def test_every_option_of_convert_can_be_set() -> None:
    assert {"faces", "output", "batch-size", "model", "quiet", "json", "follow-links"} <= OPTIONS["convert"].keys()
    assert all(option.variable.startswith("APDRAW_CONVERT_") for option in OPTIONS["convert"].values())
    assert OPTIONS["convert"]["follow-links"].wants == "true or false"
    assert OPTIONS["convert"]["output"].is_path
    assert OPTIONS["convert"]["model"].is_path
    assert not OPTIONS["convert"]["format"].is_path


def test_the_version(apdraw: Any) -> None:
    code, out, _ = apdraw("version")
    assert code == 0
    assert out.splitlines()[0] == apdraw("--version")[1].strip()
    assert json.loads(apdraw("version --json")[1])["python"]


def test_switches_are_shown_without_a_type(apdraw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for line in ("--help", "convert --help", "prepare --help", "train --help"):
        assert "<bool>" not in apdraw(line)[1]
        assert "--help" in apdraw(line)[1]
