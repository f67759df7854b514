"""Parameters: what params.yaml may hold, and how it is read, checked and changed."""

from usd.config.data import Annotate, Ingest, Paths, Render, Shard, Validate
from usd.config.loading import PARAMS, build, load, parse_yaml
from usd.config.results import Benchmark, Evaluate, Gate, Study
from usd.config.sections import Params
from usd.config.training import NO_START, Annotators, Base, Control, Optimisation, Reference, Train, Variant
from usd.config.values import Device, Precision

__all__ = [
    "NO_START",
    "PARAMS",
    "Annotate",
    "Annotators",
    "Base",
    "Benchmark",
    "Control",
    "Device",
    "Evaluate",
    "Gate",
    "Ingest",
    "Optimisation",
    "Params",
    "Paths",
    "Precision",
    "Reference",
    "Render",
    "Shard",
    "Study",
    "Train",
    "Validate",
    "Variant",
    "build",
    "load",
    "parse_yaml",
]
