"""The pipeline from nothing: python docs/quickstart.py [MODEL [OUT]].

It loads a model (models/us_diffusion, else models/reference), and writes its pictures into OUT (`.usd/quickstart`).
"""

import sys
from pathlib import Path

import PIL.Image
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler

from usd.generation.files import model_of
from usd.inference.pipeline import USDiffusionPipeline

EXAMPLES = Path(__file__).parent.parent / "data/examples"


def picture(task: str, name: str) -> PIL.Image.Image:
    """One of the pictures that the demo shows: source, target or query of a task."""
    return PIL.Image.open(EXAMPLES / task / f"{name}.png")


def main(model: Path, out: Path) -> None:
    """The ways to call it, one after the other."""
    out.mkdir(parents=True, exist_ok=True)

    # 1. Load it. Every option of diffusers works: dtype=torch.bfloat16, variant="fp16", device_map="cuda", …
    pipeline = USDiffusionPipeline.from_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")

    # 2. One example pair. The task is read off the pair, and the model knows how many steps are best for it.
    pair = (picture("image2depth", "source"), picture("image2depth", "target"))
    query = picture("image2depth", "query")
    pipeline(pair, query, generator=torch.Generator().manual_seed(0)).images[0].save(out / "depth.png")

    # 3. Several pairs that show the same, and several queries at once.
    pairs = [pair, (query, picture("image2depth", "target"))]
    queries = [query, picture("image2hed", "query")]
    for number, image in enumerate(pipeline(image_pair=pairs, query=queries).images):
        image.save(out / f"depth-{number}.png")

    # 4. The other direction: a map to an image, with a caption, guidance and more steps.
    back = (pair[1], pair[0])
    settings = {"num_inference_steps": 5, "guidance_scale": 2.0, "num_images_per_prompt": 2}
    for number, image in enumerate(pipeline(back, pair[1], "a red cube on a blue floor", **settings).images):
        image.save(out / f"image-{number}.png")

    # 5. A task that it was not trained for: the pair shows it, and the indicator says what it resembles.
    grey = pair[0].convert("L").convert("RGB")
    output = pipeline((pair[0], grey), query)
    output.images[0].save(out / "unseen.png")
    for name, weight in zip(pipeline.adapter.config.tasks, output.indicator[0].tolist(), strict=True):
        print(f"{name}: {weight:.2f}")

    # 6. Another scheduler of diffusers: any that takes a list of timesteps.
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline(pair, query, timesteps=[998, 879, 619]).images[0].save(out / "euler.png")

    # 7. Save it, with defaults of your own. Once usd is imported, diffusers' generic loader reads it, too.
    two_steps = {"timesteps": [998, 619], "guidance_scale": 1.0}
    pipeline.register_to_config(sampling={**pipeline.config.sampling, "image2map": two_steps})
    pipeline.save_pretrained(out / "model")
    print(type(DiffusionPipeline.from_pretrained(out / "model")).__name__)


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]]
    main(given[0] if given else model_of(None), given[1] if len(given) > 1 else Path(".usd/quickstart"))
