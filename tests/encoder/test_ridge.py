from encoder.train import fit_ridge
from tests.encoder.conftest import SyntheticZoo


def test_ridge_finds_unseen_adapters_by_their_captions(zoo: SyntheticZoo) -> None:
    """Twelve held out: chance is 8 % at the first place."""
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")

    print(encoder.metrics)
    assert encoder.metrics["held-out"]["recall_at_1"] > 0.6
