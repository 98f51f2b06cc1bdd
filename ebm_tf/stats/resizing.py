"""Were sets of images that are compared brought to the model's size in the same way?

    resized: another short side than the model's; scale: the median short side over the model's

Two sets are resized unequally where the shares of resized images differ by more than 0.01, or the scales by a tenth.
"""

from typing import Any

import numpy as np

__all__ = ["resized", "unequal"]

SHARE, SCALE = 0.01, 1.1


def resized(short_sides: np.ndarray, image_size: int) -> dict[str, Any]:
    """num, num_resized and scale (None without images) of a set, by the short sides [N] that its images had."""
    scale = float(np.median(short_sides) / image_size) if len(short_sides) else None
    return {"num": len(short_sides), "num_resized": int((short_sides != image_size).sum()), "scale": scale}


def unequal(sets: dict[str, dict[str, Any]]) -> str:
    """One line on the sets that were resized in another way than the first; "" where none was.

    Args:
      sets: name -> what resized gives.
    """
    (first, reference), *others = sets.items()
    odd = [name for name, one in others if _differ(reference, one)]
    if not odd:
        return ""
    what = ", ".join(_words(name, sets[name]) for name in (first, *odd))
    return f"images were resized unequally: {what}. Scaling alone tells such sets apart"


def _differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if not one["num"] or not other["num"]:
        return False
    shares = [each["num_resized"] / each["num"] for each in (one, other)]
    scales = [max(each["scale"], 1e-9) for each in (one, other)]
    return abs(shares[0] - shares[1]) > SHARE or max(scales) / min(scales) > SCALE


def _words(name: str, one: dict[str, Any]) -> str:
    return f"{one['num_resized']} of {one['num']} of {name} (median side {one['scale']:.3g} of the model's)"
