"""A shard: one of several parts of the photos of a command, for runs side by side that know nothing of each other."""

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Final

from engines.errors import OptionsError

MOST_SHARDS: Final = 100_000


@dataclass(frozen=True)
class Shard:
    """Those photos whose names have one remainder, by a checksum: the same on every machine, whatever else is there.

    Attributes:
        index: from 0.
        count: number of shards in all.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads `I/N`.

        Raises:
            OptionsError: it is none.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not shard.index < shard.count <= MOST_SHARDS:
            raise OptionsError(f"shard must be I/N, from 0/N to N-1/N, as in 0/3, 1/3 and 2/3, not {text!r}")
        return shard

    def holds(self, name: str) -> bool:
        """Whether a photo belongs to it.

        Args:
            name: its path below the root, with forward slashes.
        """
        checksum = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(checksum[:8], "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"
