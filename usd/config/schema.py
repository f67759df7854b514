"""The JSON schema of params.yaml, from which editors complete keys and show what they mean.

`python -m usd.config.schema` writes it anew after a change of a section's class or of a comment in params.yaml.
Types and ranges come from the classes, descriptions from the comments above the keys of params.yaml.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter
from ruamel.yaml import YAML

from usd.config.loading import PARAMS
from usd.config.sections import Params
from usd.files import atomic_write

SCHEMA = Path("usd/config/params.schema.json")


def schema(text: str) -> str:
    """The schema as JSON; `text` is that of params.yaml."""
    found = TypeAdapter(Params).json_schema()
    sections = {name: found["$defs"][name.capitalize()] for name in found["properties"] if name != "variants"}
    for (section, *key), description in comments(text):
        if not key:
            found["properties"][section]["description"] = description
        elif section in sections:
            sections[section]["properties"][key[0]]["description"] = description
    return json.dumps(found, indent=1) + "\n"


def comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The comment above each section and each key of params.yaml, joined to one line; empty where there is none."""
    lines = text.splitlines()
    values = YAML().load(text)
    for section, entries in values.items():
        yield (section,), _above(lines, values.lc.key(section)[0])
        for key in entries:
            yield (section, key), _above(lines, entries.lc.key(key)[0])


def _above(lines: list[str], number: int) -> str:
    first = number
    while first and lines[first - 1].strip().startswith("#"):
        first -= 1
    return " ".join(line.strip().lstrip("# ") for line in lines[first:number])


def main() -> None:
    """Write the schema."""
    atomic_write(SCHEMA, schema(PARAMS.read_text()))
    print(SCHEMA)


if __name__ == "__main__":
    main()
