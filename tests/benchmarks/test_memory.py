"""What this process takes."""

from benchmarks.memory import memory_bytes


def test_the_peak_remembers_what_was_given_back() -> None:
    before = memory_bytes("VmRSS")
    taken = bytearray(50_000_000)
    taken[::4096] = b"\1" * len(taken[::4096])
    grown = memory_bytes("VmRSS")
    del taken

    assert grown - before > 40_000_000
    # Linux counts in batches, so not to the byte.
    assert memory_bytes("VmHWM") - before > 40_000_000
