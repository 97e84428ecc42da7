from pathlib import Path

from encoder.contrastive import Schedule
from encoder.train import train_autolora
from encoder.weight_encoder import AutoLoraConfig
from tests.encoder.conftest import SyntheticZoo

SMALL = AutoLoraConfig("demo-flux-tiny", queries=1, width=32, heads=2, dropout=0.0)


def test_autolora_learns_the_synthetic_zoo(zoo: SyntheticZoo, tmp_path: Path) -> None:
    encoder = train_autolora(
        zoo.dataset,
        zoo.text_encoder,
        name="test",
        base_model="demo-flux-tiny",
        config=SMALL,
        schedule=Schedule(epochs=60, batch=20, patience=60),
        folder=tmp_path,
    )
    print(encoder.metrics)
