"""Which split a portrait belongs to."""

from dataclasses import replace

import numpy as np

from apdraw_cli.datasets.pairing import split_of, with_both_splits
from apdraw_cli.datasets.records import PairRecord


def test_a_small_set_has_portraits_of_both_splits() -> None:
    names = [name for name in map(str, range(100)) if split_of(name) == "train"]
    records = [PairRecord(name, f"{name}.jpg", split="train") for name in names[:9]]
    records.append(PairRecord("bad", "bad.jpg", split="train", left_out="no face"))
    for some in (records, [replace(record, split="val") for record in records]):
        given = some[0].split
        found = with_both_splits(some)
        (moved,) = [record for record in found if record.split != given]
        assert moved.left_out is None
        assert [replace(record, split=given) for record in found] == some
        assert with_both_splits(some[::-1]) == found[::-1]
    assert with_both_splits(records[:1]) == records[:1]


def test_a_tenth_is_put_aside_always_the_same() -> None:
    names = [f"photo{i}" for i in range(2000)]
    share = np.mean([split_of(name) == "val" for name in names])
    assert 0.08 < share < 0.12
    assert [split_of(name) for name in names] == [split_of(name) for name in names]
