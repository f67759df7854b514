"""Whose weights a model contains: the base's id and licence, as its model card states them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from usd.config.values import HUB_ID
from usd.model.source import local_copy

CACHED = re.compile(r"models--(.+?)--(.+)")  # a repository's folder in the hub's cache


@dataclass(frozen=True)
class Origin:
    """What a model card must say of the base."""

    base_model: str  # its id on the hub, which a directory OWNER--NAME has too; else the directory's name
    license: str  # an identifier of the hub's, `other` if the card states none
    license_name: str | None = None  # of the licence `other`
    license_link: str | None = None

    def front_matter(self) -> dict[str, str]:
        """The keys of a model card's header that state this."""
        found = {"license": self.license, "license_name": self.license_name, "license_link": self.license_link}
        known = {"base_model": self.base_model} if HUB_ID.fullmatch(self.base_model) else {}
        return known | {key: value for key, value in found.items() if value}


def origin_of(path: str) -> Origin:
    """Read the card (README.md) of the base at `path`, a directory or a hub id.

    A licence that is not stated is never guessed: it is `other`, named `unknown`.
    """
    root = local_copy(path, "a base", ())
    card = root / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    data = _data(text)
    stated = data.get("license")
    if isinstance(stated, list):
        stated = stated[0] if len(stated) == 1 else None
    return Origin(
        base_model=_id_of(root),
        license=str(stated) if stated else "other",
        license_name=data.get("license_name") or (None if stated else "unknown"),
        license_link=data.get("license_link"),
    )


def _data(text: str) -> dict[str, Any]:
    """The header of a card, between two lines of dashes; of one that cannot be read, nothing."""
    header = re.match(r"\s*---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        found = yaml.safe_load(header[1]) if header else None
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _id_of(root: Path) -> str:
    for part in (root.resolve(), *root.resolve().parents):
        if found := CACHED.fullmatch(part.name):
            return f"{found[1]}/{found[2]}"
    return root.name.replace("--", "/", 1)
