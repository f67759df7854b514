"""Parameters: what params.yaml may hold, and how it is read, checked and changed."""

from usd.config.loading import PARAMS, build, load, parse
from usd.config.sections import (
    Ablation,
    Annotate,
    Annotators,
    Base,
    Benchmark,
    Device,
    Evaluate,
    Gate,
    Optimisation,
    Params,
    Precision,
    Render,
    Shard,
    Train,
    Validate,
    Variant,
)

__all__ = [
    "PARAMS",
    "Ablation",
    "Annotate",
    "Annotators",
    "Base",
    "Benchmark",
    "Device",
    "Evaluate",
    "Gate",
    "Optimisation",
    "Params",
    "Precision",
    "Render",
    "Shard",
    "Train",
    "Validate",
    "Variant",
    "build",
    "load",
    "parse",
]
