"""The batch sampler: an order that is a function of the seed and the step, for any number of processes."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class ResumableBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) for one process, from one step to another, in an order that the seed decides.

    All processes' batches of a step are a slice of one permutation of the pairs, anew in each epoch; what is left
    over at its end is left out.

    Args:
        pairs: number of pairs.
        batch_size: number of pairs in a batch of one process.
        seed: seed of the permutations.
        start: number of steps done already.
        stop: number of steps in all.
        rank: number of this process.
        world_size: number of processes.

    Attributes:
        steps_per_epoch: number of steps after which the pairs are permuted anew.
    """

    def __init__(
        self, pairs: int, batch_size: int, seed: int, start: int, stop: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.steps_per_epoch = pairs // (batch_size * world_size)
        self._pairs, self._batch_size, self._seed = pairs, batch_size, seed
        self._start, self._stop, self._rank, self._world_size = start, stop, rank, world_size

    def __len__(self) -> int:
        return max(0, self._stop - self._start)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        permuted = -1
        for step in range(self._start, self._stop):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != permuted:
                order = np.random.default_rng([self._seed, epoch]).permutation(self._pairs)
                permuted = epoch
            first = (position * self._world_size + self._rank) * self._batch_size
            yield [(epoch, int(index)) for index in order[first : first + self._batch_size]]
