"""Commands that train encoders are tried on the encoder's own synthetic zoo."""

from tests.encoder.conftest import zoo

__all__ = ["zoo"]
