"""How many threads numbers are computed with, where threads of a server do so side by side."""

from concurrent.futures import ThreadPoolExecutor

import torch

from encoder.threads import thread_count, threads


def test_a_count_holds_until_its_context_ends() -> None:
    usual = thread_count()

    with threads(usual + 1):
        with threads(usual + 2):
            assert (thread_count(), torch.get_num_threads()) == (usual + 2, usual + 2)
        assert (thread_count(), torch.get_num_threads()) == (usual + 1, usual + 1)

    assert (thread_count(), torch.get_num_threads()) == (usual, usual)


def test_a_thread_that_begins_meanwhile_has_the_usual_count() -> None:
    """torch gives it the other's, and whoever sets it back to that gives it to all that follow."""

    def use_another_count() -> int:
        with threads(usual + 2):
            return torch.get_num_threads()

    with ThreadPoolExecutor(1) as early, ThreadPoolExecutor(1) as late:
        usual = early.submit(thread_count).result()
        with threads(usual + 1):
            assert late.submit(torch.get_num_threads).result() == usual + 1
        assert late.submit(thread_count).result() == usual
        assert late.submit(use_another_count).result() == usual + 2
        assert late.submit(torch.get_num_threads).result() == usual
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == usual
