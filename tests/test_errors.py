"""What holds of all errors that are raised on purpose."""

import pickle

import pytest

from crawler.errors import AutoLoraError, NoAnswerError
from registry.errors import AdapterNotFoundError


@pytest.mark.parametrize(
    "error",
    [
        AdapterNotFoundError(7),
        NoAnswerError("the hub", "refused", retryable=True, retry_after_seconds=5),
        AutoLoraError("nothing"),
    ],
)
def test_an_error_comes_out_of_another_process_as_it_went_in(error: AutoLoraError) -> None:
    """A pool of processes pickles it, and waits for ever where that fails."""
    came = pickle.loads(pickle.dumps(error))

    assert type(came) is type(error)
    assert str(came) == str(error)
    assert vars(came) == vars(error)
