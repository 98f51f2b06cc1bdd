"""Did these inputs train? A model keeps hashes of some of its training examples, and inputs are looked up among them.

    h(x) = 4 bytes of BLAKE2b of x: of images the pixels as uint8, of vectors (x - mean) / scale in steps of 1/1024

Of k examples kept, r have an equal among the other k - 1. Of inputs of the same law that did not train as large a share
is found among the k, so N inputs of which more are found trained in part: Fisher's exact test of the inputs found
against r/2 of k/2, since equals come in pairs. So a table of few distinct rows is not taken for training data.
"""

import base64
import hashlib
from collections.abc import Iterable

import numpy as np
from scipy import stats

from ebm_tf.pixels import to_uint8

__all__ = ["MOST", "Lookup", "fingerprint", "hashes"]

MOST = 4_096  # examples that are kept: 22 KB of text
STEPS = 1_024  # of a standard deviation: coarser than what rounding does to vectors
FALSE_ALARM = 1e-6  # of inputs that did not train


def hashes(x: np.ndarray) -> np.ndarray:
    """uint32 [N] of x [N, *event]: uint8 or float images in [-1, 1], or standardised vectors."""
    rows = to_uint8(x) if x.ndim > 2 else np.rint(np.clip(STEPS * np.float32(x), -(2.0**30), 2.0**30)).astype("<i4")
    found = [hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=4).digest() for row in rows]
    return np.frombuffer(b"".join(found), "<u4")


def fingerprint(parts: Iterable[np.ndarray]) -> str:
    """The hashes of examples, [n, *event] each as of `hashes`, as text."""
    found = np.sort(np.concatenate([hashes(x) for x in parts]))
    return base64.b64encode(found.astype("<u4").tobytes()).decode()


class Lookup:
    """Counts inputs that trained.

    Law: `words` speaks of N inputs of the examples' law that did not train with a probability of at most FALSE_ALARM.
    Limits: of a model that keeps nothing it never does. Inputs that were changed, if only by a rounding of pixels, are
      new.

    Args:
      kept: of `fingerprint`; "" where the model keeps nothing.
      num_examples: how many trained.
    """

    def __init__(self, kept: str, num_examples: int):
        self._kept = np.frombuffer(base64.b64decode(kept), "<u4")
        self._num_examples, self.num, self.found = num_examples, 0, 0

    def add(self, x: np.ndarray) -> None:
        """Looks up inputs [N, *event], as of `hashes`."""
        if len(self._kept) and len(x):
            self.num += len(x)
            self.found += int(np.isin(hashes(x), self._kept).sum())

    def words(self) -> str:
        """How many trained, one line; "" where that is no more than chance."""
        if not self.found:
            return ""
        num_kept = len(self._kept)
        _, place, counts = np.unique(self._kept, return_inverse=True, return_counts=True)
        repeated = -(-int((counts[place] > 1).sum()) // 2)
        sure = stats.hypergeom.sf(self.found - 1, self.num + num_kept // 2, self.found + repeated, self.num)
        if sure > FALSE_ALARM:
            return ""
        trained = min(self.num, round(self.found * self._num_examples / num_kept))
        about = "" if num_kept == self._num_examples else "about "
        kept = f"the {num_kept:,} of {self._num_examples:,} training examples whose hashes the model keeps"
        return f"{about}{trained:,} of {self.num:,} inputs trained: {self.found:,} are among {kept}"
