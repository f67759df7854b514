"""The licence of a base, which a model made from it inherits."""

from pathlib import Path

from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError

UNKNOWN = "unknown"  # as model cards name it


def licence_of(base: str) -> str:
    """What the model card of a base says, such as `creativeml-openrail-m`; `unknown` if there is no card.

    Args:
        base: a directory or a hub id.
    """
    card = Path(base) / "README.md"
    try:
        found = ModelCard.load(card if Path(base).is_dir() else base, ignore_metadata_errors=True).data.license
    except (OSError, ValueError, HfHubHTTPError):
        return UNKNOWN
    return str(found) if found else UNKNOWN
