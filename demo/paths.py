"""Where the miniature world lies on disk."""

import os
from pathlib import Path

# What the repository ships, and what `make zoo` makes (hours of work, not in git).
DATA = Path(__file__).parent / "data"
BUILD = Path(os.environ.get("DEMO_BUILD", Path(__file__).parent / "build"))
# Of the wide zoo, what the repository ships.
OUTSIDE = DATA / "outside"
# Adapters on the shipped base of art that the miniature world does not know, by many authors.
WIDE = BUILD / "wide"
# What the shipped base's gradients say of concepts.
GRADIENTS = BUILD / "concepts"
# Its folders of things, and of looks and effects.
THINGS, MANNERS = ("sorts", "names"), ("manners", "looks")
