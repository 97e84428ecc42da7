"""What Pillow raises of pictures that are broken, or bombs."""

import struct

from PIL import Image

# As its decoders do for the formats that we open: PNG, JPEG, WebP and GIF. Of a bomb of medium size
# it only warns; where warnings are errors, that is one.
BROKEN_IMAGE = (
    OSError, ValueError, SyntaxError, ArithmeticError, LookupError, struct.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
