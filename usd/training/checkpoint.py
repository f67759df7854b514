"""The state of a training on disk: a run that was killed continues from it, and ends with the same bits."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from usd.config import Optimisation
from usd.errors import UsdError
from usd.files import atomic_write, read_json
from usd.provenance import code_digest

CHECKPOINT = "checkpoint.safetensors"
IDENTITY = "identity.json"  # of a finished run
FREE = ("workers", "checkpoint_every", "preview_every")  # may differ when a training is resumed


def identity_of(params: Optimisation, module: str, data: str) -> dict[str, Any]:
    """What a run must share with the one that it resumes: parameters, the code behind a module, the data's digest.

    The caller adds what else it depends on.
    """
    kept = {key: value for key, value in asdict(params).items() if key not in FREE}
    return kept | {"data": data, "code": code_digest(module)}


class TrainingState:
    """What a resumed run needs, in one safetensors file: weights, their average if any, optimiser, curve and step.

    `identity` holds what must be the same when a run is resumed; see `identity_of`.
    """

    def __init__(
        self,
        run_dir: Path,
        identity: dict[str, Any],
        named: list[tuple[str, nn.Parameter]],
        optimizer: torch.optim.Optimizer,
        average: EMAModel | None,
    ) -> None:
        self.path = run_dir / CHECKPOINT
        self.identity = json.dumps(identity, sort_keys=True, default=str)
        self.named, self.optimizer, self.average = named, optimizer, average
        self.curve: list[dict[str, float]] = []

    def save(self, step: int) -> None:
        """Write the state under a temporary name, then rename it."""
        tensors: dict[str, Tensor] = {}
        for name, shadow in self._shadows():
            tensors[f"average.{name}"] = shadow
        for name, weight in self.named:
            tensors[f"weight.{name}"] = weight.detach()
            for key, value in self.optimizer.state[weight].items():
                value = torch.as_tensor(value)  # one of another shape may be shared by many weights
                tensors[f"{key}.{name}"] = value if value.shape == weight.shape else value.clone()
        note = {"step": str(step), "identity": self.identity, "curve": json.dumps(self.curve)}
        scratch = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, scratch, note)
            os.replace(scratch, self.path)
        except (OSError, SafetensorError) as error:
            scratch.unlink(missing_ok=True)
            raise UsdError(f"{self.path}: could not be written ({error}); free some space and run again") from error

    def load(self) -> int:
        """Take up the state on disk, if there is one; returns the number of steps already done."""
        if not self.path.exists():
            return 0
        try:
            with safe_open(self.path, "pt") as file:
                note = file.metadata()
                self._check(json.loads(note["identity"]))
                parts: dict[str, list[str]] = {}  # of the optimiser's state, by weight
                for kind, _, name in (key.partition(".") for key in file.keys()):  # noqa: SIM118 (it is not a mapping)
                    if kind not in ("weight", "average"):
                        parts.setdefault(name, []).append(kind)
                with torch.no_grad():
                    for name, shadow in self._shadows():
                        shadow.copy_(file.get_tensor(f"average.{name}"))
                    for name, weight in self.named:
                        weight.copy_(file.get_tensor(f"weight.{name}"))
                        if name in parts:
                            self.optimizer.state[weight] = {
                                kind: _beside(weight, file.get_tensor(f"{kind}.{name}")) for kind in parts[name]
                            }
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise UsdError(f"{self.path}: not a readable checkpoint ({error}); delete it to start afresh") from error
        self.curve = json.loads(note["curve"])
        if self.average:
            self.average.optimization_step = int(note["step"])
        return int(note["step"])

    def _shadows(self) -> list[tuple[str, Tensor]]:
        """The averaged weights by name."""
        shadows = self.average.shadow_params if self.average else []
        return [(name, shadow) for (name, _), shadow in zip(self.named, shadows, strict=False)]

    def _check(self, found: dict[str, Any]) -> None:
        """Refuse a checkpoint of another run, naming what differs."""
        wanted = json.loads(self.identity)
        different = [key for key in sorted(found.keys() | wanted.keys()) if found.get(key) != wanted.get(key)]
        if different:
            raise UsdError(
                f"{self.path}: belongs to a run with other {', '.join(different)}; delete it to start afresh, "
                "or restore those values to resume"
            )


def _beside(weight: nn.Parameter, value: Tensor) -> Tensor | int:
    """A part of the optimiser's state as it was: a count, or a tensor laid out in memory as its weight is.

    Fused and 8-bit optimisers pair the elements by address.
    """
    if value.dtype == torch.int64:
        return int(value)
    if value.shape != weight.shape:
        return value.to(weight.device)
    return torch.empty_like(weight, dtype=value.dtype).copy_(value)


def forget(run_dir: Path) -> None:
    """Remove the checkpoint of a run whose results are written, so that the next run starts afresh."""
    (run_dir / CHECKPOINT).unlink(missing_ok=True)


def mark_done(folder: Path, identity: dict[str, Any]) -> None:
    """Say that a run's results are all in `folder`, and of what parameters, data and code they are."""
    atomic_write(folder / IDENTITY, json.dumps(identity) + "\n")


def is_done(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether `folder` has all results of a run of the same parameters, data and code."""
    path = folder / IDENTITY
    return path.exists() and read_json(path) == json.loads(json.dumps(identity))
