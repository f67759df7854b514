"""Seconds per image of several ways to sample, interleaved in one run."""

import platform
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from usd.determinism import generator
from usd.diffusion.sampling import Sampling
from usd.evaluation.manifest import Samples
from usd.inference.pipeline import USDiffusionPipeline
from usd.tasks import TASKS

TASK = TASKS["depth2image"]


@dataclass
class Contestant:
    """A variant with one way of sampling, and what was measured, by batch size."""

    variant: str
    pipeline: USDiffusionPipeline
    sampling: Sampling
    end_to_end: dict[int, list[float]] = field(default_factory=dict)  # seconds per image
    model_only: dict[int, list[float]] = field(default_factory=dict)

    def measure(self, samples: Samples, size: int, seed: int, min_run_time: float) -> tuple[float, float]:
        """Seconds per image: of calls, prompt to PIL images, and within them of the loops over timesteps.

        Calls are repeated for `min_run_time` seconds at least, so that short ones meet the machine's ups and downs as
        long ones do.
        """
        items = samples.manifest(TASK, size, seed)
        queries, examples = [item.query for item in items], [item.example for item in items]
        pair = (samples.pictures(examples, TASK.source), samples.pictures(examples, TASK.target))
        query = samples.pictures(queries, TASK.source)
        prompts = [samples.caption(key) for key in queries]
        in_loops, calls = 0.0, 0

        def loop(steps: Iterable[Any]) -> Iterable[Any]:
            nonlocal in_loops
            began = clock()
            yield from steps
            in_loops += clock() - began

        self.pipeline.progress_bar = loop
        began = clock()
        while calls == 0 or clock() - began < min_run_time:
            self.pipeline(
                pair,
                query,
                prompts,
                timesteps=self.sampling.timesteps,
                guidance_scale=self.sampling.guidance_scale,
                generator=generator(seed),
            )
            calls += 1
        images = calls * size
        return (clock() - began) / images, in_loops / images


def clock() -> float:
    """Seconds, after the GPU has finished what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def speedups(contestants: list[Contestant], device: torch.device) -> dict[str, Any]:
    """Medians over the turns; a speedup is over the baseline in the same turn, the headline the least of them."""
    baseline, ours = contestants[0], contestants[1]

    def ratio(of: Contestant, kind: str) -> dict[str, float]:
        theirs: dict[int, list[float]] = getattr(baseline, kind)
        its: dict[int, list[float]] = getattr(of, kind)
        return {str(size): round(float(np.median(np.divide(theirs[size], its[size]))), 2) for size in its}

    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else 1024 * peak_kilobytes()
    return {
        "speedup_end_to_end": min(ratio(ours, "end_to_end").values()),
        "speedup_model": min(ratio(ours, "model_only").values()),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "peak_memory_mb": round(memory / 2**20),
        "variants": {
            each.variant: {
                "nfe": each.sampling.nfe,
                "timesteps": len(each.sampling.timesteps),
                "guidance_scale": each.sampling.guidance_scale,
                "seconds_per_image": {str(n): round(float(np.median(s)), 5) for n, s in each.end_to_end.items()},
                "seconds_per_image_model": {str(n): round(float(np.median(s)), 5) for n, s in each.model_only.items()},
                "speedup_end_to_end": ratio(each, "end_to_end"),
                "speedup_model": ratio(each, "model_only"),
            }
            for each in contestants
        },
    }


def peak_kilobytes() -> int:
    """The process's peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
