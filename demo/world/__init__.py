"""The wide world: many sets of openly licensed art, and adapters of it on the shipped base."""
