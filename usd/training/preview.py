"""Previews of a training: validation items of every trained task, as a grid and as a figure."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from usd.data.shards import Split
from usd.determinism import generator
from usd.diffusion.sampling import ddim, sample
from usd.images import to_array, to_tensor, write_grid
from usd.model.base import Base, decode, encode_text, scale_factor
from usd.model.control import Denoiser, predict
from usd.tasks import TRAINED, Task

ITEMS = 4  # of each task, at most


class Preview:
    """Samples the first items of a split; the example of each is the next item."""

    def __init__(self, base: Base, split: Split, timesteps: Sequence[int]) -> None:
        self.base, self.timesteps = base, timesteps
        numbers = range(min(ITEMS, len(split)))
        keys = [split.rows.key(number) for number in numbers]
        fields = {field for task in TRAINED for field in (task.source, task.target)}
        self.pictures = {field: to_tensor(split.pictures(keys, field)) for field in fields}  # (B, 3, H, W) each
        self.size = self.pictures["image"].shape[-1]  # pixels
        self.captions = [split.rows.caption(number) for number in numbers]

    def __call__(self, denoiser: Denoiser, path: Path) -> dict[str, float]:
        """Write a row of query, truth and output for every task; returns their RMSE by task."""
        denoiser.eval()
        rows, errors = [], {}
        for task in TRAINED:
            query, truth = self.pictures[task.source], self.pictures[task.target]
            found = self.sampled(denoiser, task).cpu()
            errors[f"validation rmse/{task.name}"] = float((found - truth).square().mean().sqrt())
            rows.append([tile for trio in zip(*map(to_array, (query, truth, found)), strict=True) for tile in trio])
        write_grid(rows, ["query", "truth", "output"] * len(self.captions), path)
        denoiser.train()
        return errors

    @torch.no_grad()
    def sampled(self, denoiser: Denoiser, task: Task) -> Tensor:
        """The outputs (B, 3, H, W) in [0, 1] of a task, without guidance and with the indicator read off the pair."""
        base, adapter, device = self.base, denoiser.adapter, self.base.unet.device
        query = self.pictures[task.source].to(device)
        pair = torch.cat([self.pictures[task.source], self.pictures[task.target]], dim=1).roll(-1, 0).to(device)
        indicator = adapter.infer(pair)  # (B, N)
        features = adapter.read_query(query, indicator) + adapter.read_pair(pair, indicator)  # (B, C, h, w)
        prompts = [task.prompt(caption, named=adapter.example is None) for caption in self.captions]
        text = encode_text(base, prompts)  # (B, L, D)
        network = partial(predict, denoiser.unet, denoiser.control, text=text, features=features)
        x_0 = sample(network, self._noise(query).to(device), ddim(base.scheduler.config), self.timesteps)
        return decode(base.vae, x_0).clamp(0, 1)

    def _noise(self, query: Tensor) -> Tensor:
        """x_T (B, C, h, w), the same in every preview."""
        sides = [side // scale_factor(self.base.vae) for side in query.shape[-2:]]
        return torch.randn(len(query), self.base.unet.config.in_channels, *sides, generator=generator(0))
