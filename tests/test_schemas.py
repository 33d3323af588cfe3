"""The JSON schemas, and the page about them, against what a conversion writes."""

import ast
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import TWO_FACES, WARNED, FakeEngine, engine_opener, fake_extractor, manifest_lines, save_photo
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource

import apdraw_cli
from apdraw_cli.cli.convert import show
from apdraw_cli.commands.convert import convert
from apdraw_cli.console import Console
from apdraw_cli.conversion.listener import Together
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.progress import ConversionProgress
from apdraw_cli.result_lines import KeptResults, PrintedResults

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = {
    name: json.loads((Path(apdraw_cli.__file__).parent / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    for name in ("manifest", "convert")
}
PAGE = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")


def validator(name: str) -> Draft202012Validator:
    resources = [Resource.from_contents(schema) for schema in SCHEMAS.values()]
    registry = Registry().with_resources((resource.id(), resource) for resource in resources)
    Draft202012Validator.check_schema(SCHEMAS[name])
    return Draft202012Validator(SCHEMAS[name], registry=registry)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_photo(tmp_path / "photos" / "one.png")
    save_photo(tmp_path / "photos" / "two.png", 50, TWO_FACES)
    save_photo(tmp_path / "photos" / "small.png", 50, WARNED)
    save_photo(tmp_path / "photos" / "landscape.png", 0)
    (tmp_path / "photos" / "empty.jpg").touch()
    (tmp_path / "m.onnx").touch()
    return tmp_path / "photos"


def run(photos: Path, *, jsonl: bool = False) -> None:
    """Converts as the command does, with stand-ins for faces and generator."""
    options = ConvertOptions.of(str(photos), model=photos.parent / "m.onnx", workers=0, faces="all")
    console = Console("convert", as_json=True)
    with ConversionProgress() as progress, KeptResults() as kept:
        listener = Together(progress, PrintedResults() if jsonl else kept)
        engine = engine_opener(FakeEngine())
        result = convert(options, listener, open_engine=engine, open_extractor=fake_extractor)
        show(console, result, None if jsonl else kept)


def test_the_object_and_the_manifest_have_the_form_that_is_told(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(photos)
    first = json.loads(capsys.readouterr().out)
    run(photos)
    second = json.loads(capsys.readouterr().out)
    for summary in (first, second):
        validator("convert").validate(summary)
        assert summary.keys() == SCHEMAS["convert"]["properties"].keys()
    lines = manifest_lines(photos.parent / "photos-drawings")
    for line in lines:
        validator("manifest").validate(line)
        assert line.keys() == SCHEMAS["manifest"]["properties"].keys()
    assert [{**line, "remembered": False, "known": False} for line in lines] == first["results"]
    assert {line["source"]: line["status"] for line in lines} == {
        "empty.jpg": "failed",
        "landscape.png": "no_face",
        "one.png": "done",
        "small.png": "done",
        "two.png": "done",
    }
    assert {(each["status"], each["remembered"]) for each in second["results"]} == {
        ("failed", True),
        ("no_face", True),
        ("skipped", False),
    }
    (two,) = (each["outputs"] for each in second["results"] if each["source"] == "two.png")
    assert two == ["two.png", "two.2.png"]


def test_a_line_for_each_photo_and_the_summary_last(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(photos, jsonl=True)
    *results, summary = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    lines = manifest_lines(photos.parent / "photos-drawings")
    assert [{**line, "remembered": False, "known": False} for line in lines] == results
    assert (summary["photos"], summary["exit_code"]) == (5, 1)
    assert "results" not in summary
    assert not any("exit_code" in each for each in results)
    validator("convert").validate(summary)


@pytest.mark.parametrize(
    ("schema", "changes"),
    [
        ("manifest", {"status": "perhaps"}),
        ("manifest", {"transform": [[[1, 0], [0, 1]]]}),
        ("manifest", {"error": {"code": "Not a code", "message": ""}}),
        ("manifest", {"faces": [{"box": [1, 2, 3, 4], "score": 0.9, "landmarks": [[1, 2]] * 4}]}),
        ("convert", {"exit_code": 4}),
        ("convert", {"results": [{"source": "p.jpg"}]}),
    ],
)
def test_the_schemas_refuse(
    photos: Path, capsys: pytest.CaptureFixture[str], schema: str, changes: dict[str, Any]
) -> None:
    run(photos)
    summary = json.loads(capsys.readouterr().out)
    whole = {"convert": summary, "manifest": manifest_lines(photos.parent / "photos-drawings")[0]}[schema]
    validator(schema).validate(whole)
    with pytest.raises(ValidationError):
        validator(schema).validate({**whole, **changes})


def test_a_command_that_fails_prints_an_object_of_the_schema(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "apdraw_cli", "convert", str(tmp_path / "none"), "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    validator("convert").validate(json.loads(printed))
    assert json.loads(printed)["error"]["code"] == "usage"


def test_the_page_tells_of_every_field() -> None:
    (table,) = re.findall(r"^## The manifest$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"^\| `([\w.\[\]]+)` \|", table, re.MULTILINE))
    face = {f"faces[].{name}" for name in SCHEMAS["manifest"]["$defs"]["face"]["properties"]}
    assert told == SCHEMAS["manifest"]["properties"].keys() | face


def codes(*names: str) -> set[str]:
    """The codes that calls of some classes name in the sources of a conversion."""
    found = set()
    folders = (ROOT / "apdraw_cli" / name for name in ("conversion", "faces"))
    for path in itertools.chain.from_iterable(folder.rglob("*.py") for folder in folders):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def test_the_page_tells_of_every_code() -> None:
    (table,) = re.findall(r"^## Codes of photos$(.*)", PAGE, re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert told == codes("PhotoError", "PhotoWarning") | {"own_drawing", "general"}


def test_the_examples_of_the_page_run(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(photos)
    monkeypatch.chdir(photos.parent)
    found: dict[str, Any] = {}
    for example in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(example, found)
    assert json.loads(found["schema"]) == SCHEMAS["manifest"]
    assert found["photos"]["two.png"]["outputs"] == ["two.png", "two.2.png"]
