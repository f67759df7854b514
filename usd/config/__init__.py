"""Parameters: what params.yaml may hold, and how it is read, checked and changed."""

from usd.config.data import Annotate, Render, Validate
from usd.config.loading import PARAMS, build, load, parse_yaml
from usd.config.results import Evaluate, Gate
from usd.config.sections import Params
from usd.config.training import NO_START, Annotators, Base, Optimisation, Train, Variant

__all__ = [
    "NO_START",
    "PARAMS",
    "Annotate",
    "Annotators",
    "Base",
    "Evaluate",
    "Gate",
    "Optimisation",
    "Params",
    "Render",
    "Train",
    "Validate",
    "Variant",
    "build",
    "load",
    "parse_yaml",
]
