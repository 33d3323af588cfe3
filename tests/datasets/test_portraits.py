"""What is seen of a portrait beside its face."""

import numpy as np

from apdraw_cli.datasets.portraits import has_round_frame


def test_a_round_frame_shows_in_the_corners_and_is_no_plain_wall() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (200, 200, 3)).astype(np.uint8)
    assert not has_round_frame(photo)
    y, x = np.mgrid[0:200, 0:200]
    photo[(x - 100) ** 2 + (y - 100) ** 2 > 100**2] = (70, 100, 110)
    assert has_round_frame(photo)
    wall = np.full((200, 200, 3), 255, np.uint8)
    assert not has_round_frame(wall)
    wall[40:, 70:130] = 90  # a head and shoulders, as far as the corners can tell
    assert not has_round_frame(wall)
