"""Draw well-known things with a base, in an order that the viewer does not know.

`python -m demo.world.sample --seed 1` writes a sheet and, beside it, what it shows: look at
the first, write down what you see, then count with the second. `--base` draws the same with
another base.
"""

import argparse
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor

from demo.base import follow_flow, unpack
from demo.paths import DATA
from demo.world.sheet import contact_sheet, to_pictures
from encoder.text_encoder import load_text_encoder
from registry.fusion.backends.prompt import PromptEncoder

WELL_KNOWN = """
airplane; alarm clock; ambulance; anchor; apple; axe; balloon; banana; battery; bear; bell;
bicycle; bird; book; bread; broom; bus; butterfly; cactus; camera; candle; car; carrot; castle;
cat; chair; cherries; chicken; church; cloud; clover; cookie; cow; crab; crown; dog; door;
dolphin; donut; ear; egg; elephant; eye; fire; fish; flashlight; frog; gear; ghost; gift; glasses;
grapes; guitar; hamburger; hammer; hat; heart; helicopter; horse; hourglass; house; ice cream;
key; ladder; laptop; leaf; lemon; light bulb; lion; lock; magnet; megaphone; microphone;
microscope; moon; mouse; mushroom; necktie; owl; panda; pencil; penguin; piano; pig; pineapple;
pizza; rabbit; rainbow; rocket; rose; sailboat; scissors; shoe; skull; snail; snake; snowflake;
snowman; spider; star; strawberry; sun; sunflower; sword; taxi; teapot; telephone; television;
tent; tiger; toilet; tomato; tractor; traffic light; train; tree; trophy; truck; t-shirt; turtle;
umbrella; violin; watch; watermelon; whale
"""


class Painter:
    """Draws prompts with a base in a folder of diffusers' layout."""

    def __init__(self, folder: Path) -> None:
        self.transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer").eval()
        self.vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
        self.encoder = PromptEncoder(load_text_encoder())

    @torch.no_grad()
    def draw(self, prompts: list[str], seed: int, steps: int = 20, guidance: float = 3.0) -> Tensor:
        """Give pictures (n, 3, h, w) in [-1, 1], the same noise for the same place."""
        noise = torch.randn(len(prompts), 16, 64, generator=torch.Generator().manual_seed(seed))
        prompt, nothing = self.encoder.encode(prompts), self.encoder.encode([""] * len(prompts))
        tokens = follow_flow(self.transformer.float(), noise, prompt, nothing, steps, guidance)
        config = self.vae.config
        latents = unpack(tokens) / config.scaling_factor + config.shift_factor
        pictures: Tensor = self.vae.float().decode(latents).sample
        return pictures


def pick_things(count: int, seed: int) -> list[str]:
    things = [thing.strip() for thing in WELL_KNOWN.replace("\n", " ").split(";")]
    return random.Random(seed).sample(things, count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=DATA / "base")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=36)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--style", default="{}", help='for example "{}, thin line icon"')
    options = parser.parse_args()
    torch.set_num_threads(1)
    things = pick_things(options.count, options.seed)
    prompts = [options.style.format(thing) for thing in things]
    drawn = to_pictures(
        Painter(options.base).draw(prompts, options.seed, guidance=options.guidance)
    )
    zoom = 128 // drawn.shape[1]
    contact_sheet(drawn, 9, zoom).save(options.out)
    options.out.with_suffix(".txt").write_text("\n".join(prompts) + "\n")
