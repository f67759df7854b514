"""Stage `benchmark`: seconds per image of both variants, interleaved in one run.

DVC hashes only the settings (OUT): timings differ from run to run. They go to TIMINGS, which is committed but is
no output of the stage.
"""

import json
from pathlib import Path

from rich.progress import track

from usd import config
from usd.config.training import BASELINE, OURS
from usd.data.shards import Shards
from usd.determinism import device_for
from usd.diffusion.sampling import Sampling
from usd.diffusion.timesteps import sampling_timesteps
from usd.evaluation.manifest import Samples
from usd.evaluation.sampling import Candidate
from usd.evaluation.timing import TASK, Contestant, speedups
from usd.files import atomic_write, read_json
from usd.inference.pipeline import USDiffusionPipeline
from usd.stages import run


def main(shards: str, baseline: Path, ours: Path, results: Path, out: Path, timings: Path) -> None:
    """Time the models BASELINE and OURS on SHARDS with the sampling chosen in RESULTS/<variant>/metrics.json."""
    everything = config.load()
    params, strategy = everything.benchmark, everything.variant(OURS).timesteps
    samples = Samples(Shards.open(shards)["test"])
    samples.manifest(TASK, max(params.batch_sizes), params.seed)  # too large a batch is refused before any work
    device = device_for(everything.train.device)
    models = {
        name: USDiffusionPipeline.from_pretrained(path).to(device)
        for name, path in ((BASELINE, baseline), (OURS, ours))
    }
    chosen = read_json(results / OURS / "metrics.json")["sampling"]
    uniform = sampling_timesteps("uniform", everything.evaluate.baseline_steps)
    ess = sampling_timesteps("ess", everything.train.ess_steps)
    contestants = [
        Contestant(BASELINE, models[BASELINE], Sampling(uniform)),
        Contestant(OURS, models[OURS], Sampling(ess)),
    ]
    for direction, choice in chosen.items():
        sampling = Candidate.of(choice).sampling(strategy)
        contestants.append(Contestant(f"{OURS}, chosen for {direction}", models[OURS], sampling))
    rounds = [(size, turn) for size in params.batch_sizes for turn in range(params.repeats + 1)]
    for size, turn in track(rounds, description="benchmark"):
        for contestant in contestants:
            end_to_end, model_only = contestant.measure(samples, size, params.seed + turn, params.min_run_time)
            if turn > 0:  # the first turn warms up
                contestant.end_to_end.setdefault(size, []).append(end_to_end)
                contestant.model_only.setdefault(size, []).append(model_only)
    report = speedups(contestants, device)
    atomic_write(timings, json.dumps(report, indent=1) + "\n")
    settings = {each.variant: {"nfe": each.sampling.nfe, "batch_sizes": params.batch_sizes} for each in contestants}
    atomic_write(out, json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
