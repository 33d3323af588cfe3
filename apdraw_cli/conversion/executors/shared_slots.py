"""Memory shared with worker processes, in slots, through which large arrays reach them and come back.

The parent lends a slot with each message. Of what is sent, arrays of `SMALL` bytes or more go through the slot (as
out-of-band buffers of pickle's protocol 5) and the rest through a pipe. The arrays of an answer lie in the slot itself:
it is free again once nothing refers to them, and until then they can be sent to any worker without being copied. Where
there is no slot, or no room in it, arrays go through the pipe.

It is no `multiprocessing.shared_memory`: that lies in /dev/shm, of which containers have 64 MB.
"""

import mmap
import os
import pickle
import struct
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

SLOT_BYTES: Final = 2**20 + 2**16
"""Room for a portrait: 512 x 512 pixels of four bytes, photo and mask."""

SLOTS: Final = 128
"""As many as wait for an engine, are drawn by it and wait to be encoded; memory is taken up as they are used."""

SMALL: Final = 4096
"""Arrays of fewer bytes go through the pipe."""

ALIGNMENT: Final = 64

Memory = npt.NDArray[np.uint8]

Place = tuple[int, int]
"""Where an array begins and ends in the memory, in bytes."""

Message = tuple[bytes, bytes]
"""An envelope and a pickle."""

NO_SLOT: Final = -1

_HEAD: Final = struct.Struct("<qq")
_PLACE: Final = struct.Struct("<qq")


@dataclass(frozen=True, eq=False)
class Slot:
    """A slot that is lent, until nothing refers to its memory any more.

    Attributes:
        start: where in the memory it begins.
        memory: uint8 [SLOT_BYTES].
    """

    start: int
    memory: Memory


@dataclass(frozen=True)
class Envelope:
    """What comes before a message.

    Attributes:
        places: where the large arrays of the message lie.
        slot: where the slot begins that the answer may use; None if there is none.
    """

    places: Sequence[Place] = ()
    slot: int | None = None

    def __bytes__(self) -> bytes:
        slot = NO_SLOT if self.slot is None else self.slot
        return _HEAD.pack(slot, len(self.places)) + b"".join(_PLACE.pack(*place) for place in self.places)

    @classmethod
    def read(cls, pipe: IO[bytes]) -> "Envelope":
        """Reads one; raises EOFError at the end of the pipe."""
        slot, count = _HEAD.unpack(_bytes_of(pipe, _HEAD.size))
        places = list(_PLACE.iter_unpack(_bytes_of(pipe, count * _PLACE.size)))
        return cls(places, None if slot == NO_SLOT else slot)


class Slots:
    """The slots, in the parent.

    Args:
        count: their number.

    Raises:
        OSError: this system has no such memory.

    Attributes:
        fd: file descriptor of the memory, for workers to inherit.
    """

    def __init__(self, count: int) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError("this system has no memory files")
        self._file = FileIO(_no_standard_stream(os.memfd_create("apdraw")), "r+")
        self.fd = self._file.fileno()
        try:
            self._file.truncate(count * SLOT_BYTES)
            self._memory = np.frombuffer(mmap.mmap(self.fd, 0), np.uint8)
        except (OSError, ValueError) as error:
            self._file.close()
            raise OSError(f"no memory can be shared: {error}") from error
        self._free = deque(range(0, count * SLOT_BYTES, SLOT_BYTES))

    def lend(self) -> Slot | None:
        """A free slot; None if there is none."""
        try:
            start = self._free.pop()  # the one used last, which is in the processor's caches
        except IndexError:
            return None
        memory = np.frombuffer(self._memory.data, np.uint8, SLOT_BYTES, start)
        weakref.finalize(memory, self._free.append, start).atexit = False
        return Slot(start, memory)

    def task(self, task: Any, slot: Slot | None) -> Message:
        """A task; large arrays are in the memory already, or are copied into the slot lent."""
        first = _address(self._memory)
        copies = _Copies(slot)

        def place(array: Memory) -> Place | None:
            start = _address(array) - first
            if 0 <= start < self._memory.nbytes:
                return start, start + array.nbytes
            return copies.place(array)

        body, places = _pickled(task, place)
        free = slot is not None and not copies.made  # an answer must not overwrite what it is made of
        return bytes(Envelope(places, slot.start if slot is not None and free else None)), body

    def close(self) -> None:
        """Closes the file, once no worker will be started any more; what is lent stays usable."""
        self._file.close()


class WorkerSlots:
    """The slots, in a worker.

    Args:
        fd: file descriptor that it inherited.
    """

    def __init__(self, fd: int) -> None:
        self._memory = np.frombuffer(mmap.mmap(fd, 0), np.uint8)

    def arrays(self, places: Sequence[Place]) -> list[Memory]:
        """The large arrays of a message."""
        return [self._memory[start:end] for start, end in places]

    def answer(self, answer: Any, slot: int) -> Message:
        """An answer; large arrays are copied into a slot."""
        copies = _Copies(Slot(slot, self._memory[slot : slot + SLOT_BYTES]))
        body, places = _pickled(answer, copies.place)
        return bytes(Envelope(places)), body


class _Copies:
    """Copies arrays into a slot, one after the other, as long as there is room."""

    def __init__(self, slot: Slot | None) -> None:
        self._slot = slot
        self._end = 0

    @property
    def made(self) -> bool:
        """Whether there are any."""
        return self._end > 0

    def place(self, array: Memory) -> Place | None:
        """Where the copy of an array lies; None if there is no room."""
        start, end = self._end, self._end + array.nbytes
        if self._slot is None or end > SLOT_BYTES:
            return None
        self._slot.memory[start:end] = array
        self._end = -(-end // ALIGNMENT) * ALIGNMENT
        return self._slot.start + start, self._slot.start + end


def whole(content: Any) -> Message:
    """A message that needs no memory."""
    return bytes(Envelope()), pickle.dumps(content, pickle.HIGHEST_PROTOCOL)


def read_answer(pipe: IO[bytes], slot: Slot | None) -> Any:
    """Reads an answer, for which a slot may have been lent."""
    envelope = Envelope.read(pipe)
    arrays = [] if slot is None else [slot.memory[a - slot.start : b - slot.start] for a, b in envelope.places]
    return pickle.load(pipe, buffers=arrays)


def _pickled(content: Any, place: Callable[[Memory], Place | None]) -> tuple[bytes, list[Place]]:
    """A pickle, and the places of the large arrays that are not in it."""
    places: list[Place] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        array = np.frombuffer(buffer.raw(), np.uint8)
        found = place(array) if array.nbytes >= SMALL else None
        if found is not None:
            places.append(found)
        return found is None

    return pickle.dumps(content, pickle.HIGHEST_PROTOCOL, buffer_callback=stays), places


def _no_standard_stream(fd: int) -> int:
    """The same file under a number that no standard stream of a new process has, where one is closed here."""
    import fcntl

    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _bytes_of(pipe: IO[bytes], count: int) -> bytes:
    found = pipe.read(count)
    if len(found) < count:
        raise EOFError
    return found


def _address(array: Memory) -> int:
    return int(array.__array_interface__["data"][0])
