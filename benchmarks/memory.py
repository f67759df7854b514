"""What one training step of each profile needs in memory: computed on fake tensors, and measured if there is a GPU.

python -m benchmarks.memory
"""

import gc
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.outcome import ROOT
from usd import config
from usd.annotators.bundled import PerceptionNet
from usd.config.profiles import apply
from usd.config.training import NO_START
from usd.determinism import device_for
from usd.diffusion.prediction import clean_estimate
from usd.diffusion.timesteps import sampling_timesteps
from usd.model.adapter import SeparateGather
from usd.model.base import Base, decode, encode
from usd.model.control import predict
from usd.model.untrained import new_base
from usd.tasks import TRAINED
from usd.training.finetune import new_denoiser

PROFILES = ("cpu", "gpu", "sd15")
GIB = 2**30


def parameters(profile: str) -> config.Params:
    """The project's, with a profile's values."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "params.yaml"
        target.write_text((ROOT / "params.yaml").read_text())
        apply(ROOT / f"profiles/{profile}.yaml", target)
        params = config.load(target)
    return replace(params, train=replace(params.train, warm_start=NO_START))  # fake tensors take no stored weights


def base_of(params: config.Params) -> Base:
    """The profile's base by its sizes; its weights and words do not matter."""
    sizes = params.base
    base = new_base(sizes.patch_size, sizes.channels, sizes.text_width, ["a cube"], params.render.image_size)
    if params.train.base == "models/base":
        return base
    base.unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)  # Stable Diffusion 1.5
    base.vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
    )
    base.text_encoder = CLIPTextModel(
        CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    )
    return base


def encoded(adapter: SeparateGather, condition: torch.Tensor) -> torch.Tensor:
    """What the adapter does to a batch that has every task, without looking which rows are whose."""
    parts = [light(part) for light, part in zip(adapter.light, condition.chunk(len(adapter.light)), strict=True)]
    return adapter.out(adapter.shared(torch.cat(parts)))


class Ledger(TorchDispatchMode):
    """Adds up the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Any = WeakIdKeyDictionary()
        self.now = self.peak = 0

    def settle(self) -> int:
        """What is alive now; the peak counts from here."""
        self.peak = self.now
        return self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._enter, found)
        return found

    def _enter(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self.seen:
            size = storage.nbytes()
            self.seen[storage] = size
            weakref.finalize(storage, self._leave, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _leave(self, size: int) -> None:
        self.now -= size


class Allocated:
    """The same of a GPU, as PyTorch counts it."""

    def settle(self) -> int:
        """What is allocated now; the peak counts from here."""
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    @property
    def peak(self) -> int:
        """The most since then."""
        return torch.cuda.max_memory_allocated()


@contextmanager
def on_paper() -> Iterator[Ledger]:
    """Tensors without values."""
    with FakeTensorMode(), Ledger() as ledger:
        yield ledger


@contextmanager
def on_gpu() -> Iterator[Allocated]:
    """Tensors on a GPU."""
    device_for("cuda")
    gc.collect()  # what an earlier step has left
    with torch.device("cuda"):
        yield Allocated()


def feedback_items(train: config.Train) -> int:
    """Items that FAL decodes at most: timesteps come in pairs, of which one at most is in the lower half."""
    drawn = sampling_timesteps("ess", train.ess_steps)
    low = sum(step <= train.feedback_below for step in drawn) / len(drawn)
    tasks = [task for task in TRAINED if task.direction == "map2image" or train.feedback_image2map]
    items = train.batch_size * len(tasks)
    return min(items, train.batch_size * len(TRAINED) // 2) if low < 0.5 else items


def step(params: config.Params, gauge: Ledger | Allocated) -> tuple[float, float]:
    """GiB of weights, average, gradients and optimiser, and GiB at the worst moment of US-Diffusion's training step."""
    train, count, size = params.train, params.train.batch_size * len(TRAINED), params.render.image_size
    base = base_of(params).freeze()
    denoiser = new_denoiser(base, params.variants["us_diffusion"], train)
    weights = [weight for weight in denoiser.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights)
    average = EMAModel(weights, decay=train.ema_decay) if train.ema_decay else None
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()  # makes its state
    lasting = gauge.settle()
    query, pair = torch.rand(count, 3, size, size), torch.rand(count, 6, size, size)
    t = torch.full((count,), 500)
    autocast = torch.autocast(query.device.type, torch.bfloat16) if train.precision == "bf16" else nullcontext()
    with autocast:
        with torch.no_grad():
            x_t = encode(base.vae, query)
            width = int(base.text_encoder.config.hidden_size)
            text = torch.rand(count, 77, width)
        features = encoded(denoiser.adapter.query, query) + encoded(denoiser.adapter.example, pair)
        prediction = predict(denoiser.unet, denoiser.control, x_t, t, text, features)
        estimate = clean_estimate(base.scheduler, prediction.float(), x_t, t)
        generated = decode(base.vae, estimate[: feedback_items(train)])
        read = PerceptionNet(params.annotators.channels)(generated.float())
        loss = sum(part.float().square().mean() for part in (prediction, *read))
    loss.backward()
    optimizer.step()
    if average:
        average.step(weights)
    return lasting / GIB, gauge.peak / GIB


def main() -> None:
    """Print the table."""
    modes = {"computed": on_paper} | ({"measured": on_gpu} if torch.cuda.is_available() else {})
    print("| profile | pixels | items a micro-batch | | weights, average, gradients, optimiser | with activations |")
    print("|---|---|---|---|---|---|")
    for profile in PROFILES:
        params = parameters(profile)
        items = params.train.batch_size * len(TRAINED)
        for name, mode in modes.items():
            with mode() as gauge:
                lasting, peak = step(params, gauge)
            row = f"| {profile} | {params.render.image_size} | {items} | {name} | {lasting:.2f} GiB | {peak:.2f} GiB |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
