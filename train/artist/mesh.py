"""Names for groups of points of the 478-point face mesh (MediaPipe's numbering, irises included).

Groups that a face has twice are pairs: the one on the image's left first, then the one on its right.
"""

from typing import Final

POINTS: Final = 478

Group = tuple[int, ...]
Pair = tuple[Group, Group]

UPPER_LIDS: Final[Pair] = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133),
    (263, 466, 388, 387, 386, 385, 384, 398, 362),
)
"""From the outer corner to the inner one."""
LOWER_LIDS: Final[Pair] = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133),
    (263, 249, 390, 373, 374, 380, 381, 382, 362),
)
"""From the outer corner to the inner one."""
CREASES: Final[Pair] = ((247, 30, 29, 27, 28, 56, 190), (467, 260, 259, 257, 258, 286, 414))
"""The fold just above the upper lid, from outside to inside."""
SOCKETS: Final[Pair] = ((113, 225, 224, 223, 222, 221, 189), (342, 445, 444, 443, 442, 441, 413))
"""The next ring above the crease."""
EYE_BAGS: Final[Pair] = (
    (226, 31, 228, 229, 230, 231, 232, 233, 244),
    (446, 261, 448, 449, 450, 451, 452, 453, 464),
)
IRIS_CENTRES: Final = (468, 473)
IRIS_RIMS: Final[Pair] = ((469, 470, 471, 472), (474, 475, 476, 477))
BROW_TOPS: Final[Pair] = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
"""From the outer end to the nose."""
BROW_BOTTOMS: Final[Pair] = ((46, 53, 52, 65, 55), (276, 283, 282, 295, 285))
NOSE_WINGS: Final[Pair] = ((209, 49, 129, 64, 98, 97), (429, 279, 358, 294, 327, 326))
NOSTRILS: Final[Pair] = (
    (235, 166, 79, 239, 238, 242, 20, 60, 75, 240),
    (455, 392, 309, 459, 458, 462, 250, 290, 305, 460),
)
"""Closed; the first five points are the upper rim."""
NOSE_UNDERSIDE: Final[Group] = (242, 141, 94, 370, 462)
NOSE_BRIDGES: Final[Pair] = ((193, 122, 196, 236, 198), (417, 351, 419, 456, 420))
NOSE: Final[Group] = (209, 129, 64, 98, 97, 2, 326, 327, 294, 358, 429)
"""Closed outline of the nose's lower half."""
NOSE_TIP: Final = 4
NOSE_BASE: Final = 2
BETWEEN_EYES: Final = (168, 6)
"""On the bridge of the nose, where spectacles rest: upper, lower."""
LIP_TOP: Final[Group] = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
"""Outer contour of the upper lip, from the image's left corner to the right one."""
LIP_BOTTOM: Final[Group] = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
"""Outer contour of the lower lip."""
MOUTH_TOP: Final[Group] = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
"""Inner contour of the upper lip."""
MOUTH_BOTTOM: Final[Group] = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Inner contour of the lower lip."""
LIPS: Final[Group] = LIP_TOP + LIP_BOTTOM[-2:0:-1]
"""Closed outline of both lips."""
MOUTH_CORNERS: Final = (61, 291)
MOUTH_MIDDLE: Final = (13, 14)
"""Upper and lower lip at the middle of the mouth."""
CHIN_FOLD: Final[Group] = (181, 83, 18, 313, 405)
"""The fold under the lower lip."""
CHIN: Final = 152
SMILE_FOLDS: Final[Pair] = ((129, 203, 206, 216, 212), (358, 423, 426, 436, 432))
JAW: Final[Group] = (
    *(127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148),
    152,
    *(377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356),
)
"""From temple to temple under the chin."""
OVAL: Final[Group] = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""Closed outline of the face, from the top of the forehead clockwise."""
CHEEK_RIMS: Final = (234, 454)
"""Where the oval is widest."""
TEMPLES: Final = (127, 356)
