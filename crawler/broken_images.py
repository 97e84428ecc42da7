"""What Pillow raises for a picture that it cannot decode, in our words."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError


@contextmanager
def refused(refuse: Callable[[str], Exception]) -> Iterator[None]:
    """Raise for all that Pillow raises what `refuse` makes of it: "is a broken image: …", say."""
    try:
        yield
    # Pillow only warns of a bomb of medium size; where warnings are errors, it is one.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refuse("has far more pixels than we decode") from error
    except UnidentifiedImageError as error:
        raise refuse("is no image of a kind that we know") from error
    # What Pillow's decoders raise for broken files: PNG, JPEG, WebP and GIF.
    except (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, struct.error) as error:
        raise refuse(f"is a broken image: {error}") from error
