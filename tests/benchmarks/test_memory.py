"""What this process takes."""

from mmap import mmap

from benchmarks.memory import memory_bytes


def test_the_peak_remembers_what_was_given_back() -> None:
    before = memory_bytes("VmRSS")
    # Fresh from the kernel: a large bytearray may reuse what earlier tests gave back.
    with mmap(-1, 50_000_000) as taken:
        taken[::4096] = b"\1" * len(taken[::4096])
        grown = memory_bytes("VmRSS")

    assert grown - before > 40_000_000
    # Linux counts in batches, so not to the byte.
    assert memory_bytes("VmHWM") - before > 40_000_000
