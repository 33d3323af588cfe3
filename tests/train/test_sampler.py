"""The order of pairs: each once an epoch, the same wherever a run goes on and however many processes share it."""

from train.sampler import ResumableBatchSampler


def test_the_order_is_every_pair_once_an_epoch_and_shared_by_all_processes() -> None:
    whole = list(ResumableBatchSampler(7, 2, 0, 0, 6))
    assert [epoch for batch in whole for epoch, _ in batch] == [0] * 6 + [1] * 6
    assert len({index for batch in whole[:3] for _, index in batch}) == 6
    assert [[i for _, i in batch] for batch in whole[:3]] != [[i for _, i in batch] for batch in whole[3:]]
    assert list(ResumableBatchSampler(7, 2, 0, 4, 6)) == whole[4:]
    ranks = [list(ResumableBatchSampler(7, 1, 0, 0, 6, rank, 2)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == whole
