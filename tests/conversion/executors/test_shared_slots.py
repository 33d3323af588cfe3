"""Large arrays go through the shared memory and stay as they were; slots are free again when nothing needs them."""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from apdraw_cli.conversion.executors.shared_slots import (
    SLOT_BYTES,
    Envelope,
    Slots,
    WorkerSlots,
    read_answer,
    whole,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memory files")

COUNT = 3


@pytest.fixture
def slots() -> Iterator[Slots]:
    opened = Slots(COUNT)
    yield opened
    opened.close()
    opened.close()


def taken(worker: WorkerSlots, sent: bytes) -> tuple[Any, int | None]:
    """What a worker reads of a task, and the slot for its answer."""
    pipe = io.BytesIO(sent)
    envelope = Envelope.read(pipe)
    return pickle.load(pipe, buffers=worker.arrays(envelope.places)), envelope.slot


def free(slots: Slots) -> int:
    lent = []
    while (slot := slots.lend()) is not None:
        lent.append(slot)
    return len(lent)


def picture(value: int, size: int = 100_000) -> Any:
    return np.full((size // 1000, 1000), value, np.uint8)


def test_a_slot_is_free_again_when_no_array_of_the_answer_is_used(slots: Slots) -> None:
    worker, slot = WorkerSlots(slots.fd), slots.lend()
    assert slot is not None
    sent = b"".join(worker.answer((picture(1), picture(2)), slot.start))
    assert len(sent) < 1000
    first, second = read_answer(io.BytesIO(sent), slot)
    del slot
    assert free(slots) == COUNT - 1
    part = second[3:5, 7]
    del first, second
    assert free(slots) == COUNT - 1
    np.testing.assert_array_equal(part, [2, 2])
    del part
    assert free(slots) == COUNT


def test_arrays_of_an_answer_go_to_a_worker_without_being_copied(slots: Slots) -> None:
    worker, slot = WorkerSlots(slots.fd), slots.lend()
    assert slot is not None
    prepared = read_answer(io.BytesIO(b"".join(worker.answer(picture(1), slot.start))), slot)
    other = slots.lend()
    assert other is not None
    task, room = taken(worker, b"".join(slots.task(prepared[10:20], other)))
    assert room == other.start
    prepared[15] = 9  # seen there too
    np.testing.assert_array_equal(task[:, 0], [1, 1, 1, 1, 1, 9, 1, 1, 1, 1])


def test_an_answer_does_not_overwrite_what_it_is_made_of(slots: Slots) -> None:
    worker, slot = WorkerSlots(slots.fd), slots.lend()
    sent = b"".join(slots.task((picture(1), picture(2)), slot))
    assert len(sent) < 1000
    task, room = taken(worker, sent)
    assert room is None
    for value, found in enumerate(task, 1):
        np.testing.assert_array_equal(found, picture(value))


def test_what_has_no_room_in_a_slot_goes_through_the_pipe(slots: Slots) -> None:
    worker, slot = WorkerSlots(slots.fd), slots.lend()
    assert slot is not None
    large = picture(3, SLOT_BYTES // 1000 * 1000 - 1000)
    sent = b"".join(worker.answer((large, picture(4), picture(5, 1000)), slot.start))
    assert 100_000 < len(sent) < 110_000
    for found, expected in zip(read_answer(io.BytesIO(sent), slot), (3, 4, 5), strict=True):
        assert np.all(found == expected)
    task, _ = taken(worker, b"".join(slots.task(large, None)))
    np.testing.assert_array_equal(task, large)
    np.testing.assert_array_equal(read_answer(io.BytesIO(b"".join(whole(large))), None), large)


def test_slots_run_out_without_harm(slots: Slots) -> None:
    lent = [slots.lend() for _ in range(COUNT + 1)]
    assert lent[-1] is None
    assert len({slot.start for slot in lent[:-1] if slot is not None}) == COUNT


def test_where_no_memory_can_be_shared_there_are_no_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="no memory can be shared"):
            Slots(COUNT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(OSError, match="no memory files"):
        Slots(COUNT)


def test_the_memory_takes_the_number_of_no_closed_standard_stream() -> None:
    program = (
        "import os; from apdraw_cli.conversion.executors.shared_slots import Slots; slots = Slots(1); "
        "print(slots.fd, flush=True); os.read(slots.fd, 1); slots.close()"
    )
    said = subprocess.run(
        [sys.executable, "-c", f"import os, sys; os.close(0); os.close(2); sys.path[:] = {sys.path!r}; {program}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert int(said.stdout) > 2


def test_half_an_envelope_is_the_end() -> None:
    with pytest.raises(EOFError):
        Envelope.read(io.BytesIO(bytes(Envelope([(1, 2)], 3))[:-1]))
    assert Envelope.read(io.BytesIO(bytes(Envelope([(1, 2)], 3)))) == Envelope([(1, 2)], 3)
