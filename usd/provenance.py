"""Which code shapes a result, said once: for checkpoints, for the study's runs, and for the test of dvc.yaml.

It is what a module imports, directly or not, without the plumbing below, which cannot change a result.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
PLUMBING = ("cli", "config", "errors", "files", "parallel", "provenance", "stages/__init__", "track")


@cache
def code_that_shapes(module: str) -> tuple[Path, ...]:
    """The files that can change what a module such as `usd.stages.train` makes: sorted, and without plumbing."""
    todo, seen = [PACKAGE.parent / f"{module.replace('.', '/')}.py"], set[Path]()
    while todo:
        file = todo.pop()
        if file not in seen and not _is_plumbing(file):
            seen.add(file)
            todo += imported(file)
    return tuple(sorted(file for file in seen if file.name != "__init__.py"))


def code_digest(module: str) -> str:
    """Digest of the code that shapes what a module makes."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in code_that_shapes(module))).hexdigest()


def imported(file: Path) -> list[Path]:
    """The files of this package that a file imports, at any depth of it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    modules = [PACKAGE.parent / name.replace(".", "/") for name in names if name.split(".")[0] == PACKAGE.name]
    return [
        path for module in modules for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file()
    ]


def _is_plumbing(file: Path) -> bool:
    name = file.relative_to(PACKAGE).with_suffix("").as_posix()
    return any(name == part or name.startswith(f"{part}/") for part in PLUMBING)
