"""The wide world: many sets of openly licensed art, and a base trained on them."""
