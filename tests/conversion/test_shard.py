"""Shards are drawn side by side into one folder, and are one conversion in the end."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import Desk, changed, manifest_lines, no_engine, save_photo

from apdraw_cli.commands.convert import Plan
from apdraw_cli.commands.gallery import gallery
from apdraw_cli.conversion.gather import gather
from apdraw_cli.conversion.manifest import NAME, Manifest, last_lines
from apdraw_cli.conversion.options import RunOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.shard import Shard
from apdraw_cli.conversion.storage import open_storage
from engines.errors import OptionsError, UsageError

SHARDS = ("0/3", "1/3", "2/3")


def fill(desk: Desk) -> None:
    for number in range(12):
        folder = ("", "a", "a/b", "z")[number % 4]
        save_photo(desk.photos / folder / f"p{number}.png", 100 + number)
    save_photo(desk.photos / "a" / "no-face.png", 0)
    (desk.photos / "empty.jpg").touch()


def told(folder: Path) -> list[dict[str, Any]]:
    """The lines of the manifest and of its parts as one, without what differs from run to run."""
    lines = (line for _, line in last_lines(open_storage(str(folder))).values())
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("apdraw-manifest*"))


def test_every_photo_belongs_to_one_shard_for_ever() -> None:
    names = [f"{number % 7}/p{number}.jpg" for number in range(3000)] + ["\udcff.jpg", "é.jpg"]
    found = Counter(name for index in range(3) for name in names if Shard(index, 3).holds(name))
    assert found == Counter(names)
    sizes = [sum(map(Shard(index, 3).holds, names)) for index in range(3)]
    assert min(sizes) > 900
    assert [Shard(index, 3).holds("a/p.jpg") for index in range(3)] == [False, True, False]  # as in every version


@pytest.mark.parametrize("text", ["3/3", "0/0", "1", "-1/3", "a/b", "1/3/5", "", "0/1000000"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="I/N"):
        RunOptions(shard=text)


@pytest.mark.parametrize("option", ["prune", "gallery"])
def test_what_is_for_all_photos_is_not_for_a_shard(option: str) -> None:
    with pytest.raises(OptionsError, match="without --shard"):
        RunOptions(shard="0/3", **{option: True})


def test_shards_side_by_side_and_merged_are_one_run(desk: Desk, tmp_path: Path) -> None:
    fill(desk)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = str(Path(__file__).parents[1] / "fake_convert.py")
    runs = [
        subprocess.Popen(
            [sys.executable, program, str(desk.photos), str(desk.out), "0", "0.05"],
            stdout=subprocess.PIPE,
            env={**environment, "SHARD": shard},
            text=True,
        )
        for shard in SHARDS
    ]
    results = [json.loads(run.communicate(timeout=120)[0]) for run in runs]
    assert [result.get("error") for result in results] == [None] * 3
    assert sum(result["done"] for result in results) == 12
    assert parts(desk.out) == [f"apdraw-manifest-{index}-of-3.jsonl" for index in range(3)]

    whole = tmp_path / "whole"
    desk.convert(output=whole)
    drawings = {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*.png")}
    assert {path.relative_to(desk.out): path.read_bytes() for path in desk.out.rglob("*.png")} == drawings
    by_source = {line["source"]: line for line in told(whole)}
    assert {line["source"]: line for line in told(desk.out)} == by_source


def test_the_merged_lines_are_in_the_order_of_one_run(desk: Desk) -> None:
    fill(desk)
    storage = open_storage(str(desk.out))
    for index in (2, 0, 1):
        with Manifest(storage, NAME, Shard(index, 3)) as manifest:
            for source in gather([str(desk.photos)], shard=Shard(index, 3)).photos(".png", False):
                manifest.append(Outcome(source, "done", outputs=(f"{source.drawing}.png",)))
    whole = [source.name for source in gather([str(desk.photos)]).photos(".png", False)]
    assert [line["source"] for line in told(desk.out)] == whole
    with Manifest(storage) as manifest:
        record = manifest.history.owner("a/b/p2.png")
        assert record is not None
        assert record.source == "a/b/p2.png"
    assert parts(desk.out) == [NAME]
    assert [line["source"] for line in manifest_lines(desk.out)] == whole


def test_later_runs_of_all_kinds_know_what_shards_did(desk: Desk) -> None:
    fill(desk)
    for shard in SHARDS:
        desk.convert(shard=shard)
    again = [desk.convert(no_engine, shard=shard) for shard in SHARDS]
    assert (sum(each.skipped for each in again), sum(each.remembered for each in again)) == (12, 2)
    assert all(each.known == each.remembered for each in again)
    with Plan(desk.options()) as plan:
        assert {step.settled is not None for step in plan.steps()} == {True}
    assert gallery(desk.out).entries == 14
    others = [desk.convert(no_engine, shard=shard) for shard in ("0/2", "1/2")]
    assert sum(each.skipped for each in others) == 12
    assert NAME in parts(desk.out)
    assert not [name for name in parts(desk.out) if "of-3" in name]
    (desk.photos / "z" / "p3.png").unlink()
    changed(desk.photos / "p0.png", 7)
    result = desk.convert(prune=True, ignore_known=True)
    assert (result.done, result.skipped, result.pruned, result.failing) == (1, 10, 1, 0)
    assert parts(desk.out) == [NAME]


def test_a_newer_line_in_a_part_counts(desk: Desk) -> None:
    save_photo(desk.photos / "p.png", 40)
    desk.convert()
    changed(desk.photos / "p.png", 42)
    assert sum(desk.convert(shard=shard).done for shard in SHARDS) == 1
    assert desk.convert(no_engine).skipped == 1
    assert [line["source"] for line in manifest_lines(desk.out)] == ["p.png", "p.png"]


def test_a_shard_lets_only_others_of_as_many_in(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    storage = open_storage(str(desk.out))
    with storage.lock(Shard(0, 3)) as first, storage.lock(Shard(1, 3)) as second:
        assert (first, second) == (True, True)
        for other in (Shard(1, 3), Shard(0, 2), None):
            with storage.lock(other) as taken:
                assert not taken
        with pytest.raises(UsageError, match="another apdraw"):
            desk.convert()
    with storage.lock() as alone:
        assert alone
    assert [path.name for path in desk.out.iterdir()] == []


def test_a_shard_waits_for_one_that_begins_but_not_for_a_whole_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apdraw_cli.folder_lock.SHARD_SECONDS", 0.2)
    storage = open_storage(str(desk.out))
    with storage.lock() as whole, storage.lock(Shard(0, 3)) as taken:
        assert (whole, taken) == (True, False)


def test_a_shard_counts_its_own(desk: Desk) -> None:
    fill(desk)
    counts = [gather([str(desk.photos)], shard=Shard(index, 3)).count() for index in range(3)]
    met = [
        sum(1 for _ in gather([str(desk.photos)], shard=Shard(index, 3)).photos(".png", False)) for index in range(3)
    ]
    assert counts == met
    assert sum(counts) == 14


def test_folders_of_parts_hold_no_photos(desk: Desk) -> None:
    save_photo(desk.photos / "p.png")
    drawn = desk.photos / "drawn"
    for shard in SHARDS:
        desk.convert(output=drawn, shard=shard)
    result = desk.convert()
    assert (result.done, result.drawing_folders, result.other_files) == (1, ("drawn",), {})
