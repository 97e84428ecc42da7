"""What a token may open; `registry.db.tokens` keeps them."""

from enum import StrEnum


class TokenScope(StrEnum):
    """What a token opens."""

    READ = "read"  # search, and files
    FUSE = "fuse"  # have images drawn
    ADMIN = "admin"  # change what is here, and see who works
