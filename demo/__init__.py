"""The miniature world: a tiny base model, a zoo of adapters trained on it, and their hub."""
