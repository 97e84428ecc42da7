"""Make the wide world with one command; each part resumes where it was stopped."""

import argparse

from demo.paths import BUILD
from demo.world import art, base, vae

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae-steps", type=int, default=600)
    parser.add_argument("--base-steps", type=int, default=8000)
    options = parser.parse_args()
    art.build(BUILD / "art")
    vae.train(options.vae_steps, decoder_only=False)
    base.train(options.base_steps, BUILD / "base", fresh=False)
