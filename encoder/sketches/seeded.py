"""Random numbers that are the same on every machine and in every release of numpy.

Raw bits of Philox are; what numpy's distributions and permutations make of them may change.
"""

import hashlib

import numpy as np
import numpy.typing as npt


def random_signs(seed: str, count: int) -> npt.NDArray[np.float32]:
    """Return seeded ±1, (count,)."""
    raw = _raw(seed, -(-count // 64))
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8), count=count)
    return bits.astype(np.float32) * 2 - 1


def random_order(seed: str, count: int) -> npt.NDArray[np.int64]:
    """Return a seeded permutation of 0 to count - 1."""
    return np.argsort(_raw(seed, count), kind="stable")


def _raw(seed: str, count: int) -> npt.NDArray[np.uint64]:
    key = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "little")
    return np.random.Philox(key=key).random_raw(count)
