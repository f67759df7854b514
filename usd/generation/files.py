"""Picture files in, pictures out: what `usd generate` and `usd demo` share.

`usd generate` writes beside each picture a sidecar that says how to make it again.
"""

import io
import json
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from rich.progress import track
from torch import Tensor

from usd.diffusion.sampling import EVERYWHERE
from usd.errors import UsdError
from usd.files import atomic_write, check_writable, path_text, sha256
from usd.generation.prompts import prompt_warnings
from usd.generation.results import no_empty_folder, results_of
from usd.images import to_tensor
from usd.inference.arguments import check_numbers, check_task, per_query
from usd.inference.images import PairPart, turns_of
from usd.inference.pipeline import USDiffusionPipeline
from usd.ingestion import pictures

GLANCE = 16  # pixels a side of pictures that are only checked
SHOWN = 20  # unusable queries that a message names
MODELS = (Path("models/us_diffusion"), Path("models/reference"))  # your own, and the one kept in git


@dataclass(frozen=True)
class Request:
    """What is asked of the model, the same for every query."""

    prompt: str
    task: str | None
    steps: int | None  # None: as the model is sampled by default
    guidance_scale: float | None
    seed: int


def model_of(path: Path | None) -> Path:
    """The model asked for, else the one that you have trained, else the one kept in git.

    Raises:
        UsdError: there is none.
    """
    if path is not None:
        return path
    for each in MODELS:
        if (each / "model_index.json").is_file():
            return each
    raise UsdError(
        f"no model: neither {MODELS[0]} nor {MODELS[1]} is there; run `dvc pull` or `dvc repro` in the project's root, "
        "or name one: --model"
    )


def load_pipeline(model: Path) -> USDiffusionPipeline:
    """The trained model, on the GPU if there is one; the commands have progress bars of their own.

    Raises:
        UsdError: it is not readable, or reads no example pair, as the generic control branch.
    """
    pipeline = USDiffusionPipeline.from_pretrained(model)
    if pipeline.adapter.example is None:
        raise UsdError(f"{model}: this model reads no example pair, only the query; choose another --model")
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def queries_of(path: Path) -> list[Path]:
    """The picture files that `path` names: itself, or those of the folder, in the order of their names.

    What is hidden is left out; what else is in the folder is named on standard error, but the JSON files of results.

    Raises:
        UsdError: there is none.
    """
    if path.is_file():
        return [path]
    kinds = ", ".join(pictures.SUFFIXES)
    if not path.is_dir():
        reason = "a link that leads nowhere" if path.is_symlink() else "not found"
        raise UsdError(f"{path}: {reason}; --query takes a file or a folder of {kinds} files")
    inside = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    # a broken link is refused when it is read
    found = [p for p in inside if p.suffix.lower() in pictures.SUFFIXES and not p.is_dir()]
    if not found:
        raise UsdError(f"{path}: no picture there; --query takes a file or a folder of {kinds} files, not of folders")
    others = [path_text(p) for p in inside if p not in found and p.suffix != ".json"]
    if others:
        print(f"left out, as folders and other files than {kinds} are not read: {', '.join(others)}", file=sys.stderr)
    return found


def read_image(path: Path, size: int) -> Tensor:
    """A picture file as (1, 3, size, size) in [0, 1], decoded as the API does: upright, its central square.

    One of few colours is taken for a map of classes or lines, whose pixels are picked, not mixed.

    Raises:
        UsdError: the file is missing or no complete picture.
    """
    return to_tensor(_read(path, size).pixels[None])


def read_example(source: Path, target: Path, size: int) -> tuple[Tensor, Tensor]:
    """The example pair, each as `read_image` reads it.

    Where one has an EXIF orientation and the other was made from its stored pixels, both are turned, as in ingestion.

    Raises:
        UsdError: a file is not readable, the two are one file or not of one shape, or it cannot be known whether the
            one is turned.
    """
    first, second = _read(source, size), _read(target, size)
    if source.samefile(target):
        raise UsdError(f"{target}: source and target of the example pair are this one file; give two")
    parts = (PairPart(str(path), each.shape, each.orientation) for path, each in ((source, first), (target, second)))
    turns = turns_of(*parts)
    first = first if turns[0] == 1 else _read(source, size, turns[0])
    second = second if turns[1] == 1 else _read(target, size, turns[1])
    return to_tensor(first.pixels[None]), to_tensor(second.pixels[None])


def _read(path: Path, size: int, turn: int = 1) -> pictures.Picture:
    try:
        return pictures.read_picture(path, size, pick=True, turn=turn)
    except pictures.Refused as error:
        raise UsdError(f"{path}: not a readable picture ({error})") from error


def generate_picture(
    pipeline: USDiffusionPipeline, example: tuple[Tensor, Tensor], query: Tensor, request: Request
) -> tuple[PIL.Image.Image, dict[str, float]]:
    """The picture asked for, and the weight of each task in the indicator.

    Source, target and query are (1, 3, size, size) in [0, 1]. It starts from the noise of `request.seed` alone: the
    API, `usd generate` and `usd demo` give the same picture, beside whatever other queries.
    """
    output = pipeline(
        example,
        query,
        request.prompt,
        task=request.task,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator().manual_seed(request.seed),
    )
    tasks = pipeline.adapter.config.tasks
    indicator = {name: round(float(weight), 4) for name, weight in zip(tasks, output.indicator[0], strict=True)}
    return output.images[0], indicator


def generate_files(
    model: Path, queries: list[Path], example: tuple[Path, Path], request: Request, out: Path
) -> list[Path]:
    """Write `<query>.png` and `<query>.json` into `out` for every query; returns the pictures written.

    Raises:
        UsdError: the prompt or a picture is not readable, the task is unknown, the guidance scale is not finite, a
            result would be written over another, over a picture given or over a file that is not an earlier result, or
            `out` cannot be written.
    """
    results = results_of(queries, example, out)
    per_query("prompt", request.prompt, 1)
    check_numbers(request.steps, None, request.guidance_scale, EVERYWHERE, 1)
    read_example(*example, GLANCE)
    _check_queries(queries)  # before the model is loaded
    with no_empty_folder(out):
        check_writable(*results[:1])
        pipeline = load_pipeline(model)
        check_task(request.task, pipeline.adapter.config.tasks)
        for warning in prompt_warnings(pipeline, request.prompt):
            print(f"warning: {warning}", file=sys.stderr)
        size = pipeline.picture_size
        pair = read_example(*example, size)
        shared = _origin(model) | {"example": [_file(path) for path in example], **asdict(request), "size": size}
        for path, picture in track(list(zip(queries, results, strict=True)), description="generate"):
            image, indicator = generate_picture(pipeline, pair, read_image(path, size), request)
            used = {
                "timesteps": pipeline.scheduler.timesteps.tolist(),
                "guidance_scale": pipeline.guidance_scale,
                "indicator": indicator,
            }
            _write(image, picture, {"query": _file(path), **shared, **used})
    return results


def _check_queries(queries: list[Path]) -> None:
    """Read them all; all that cannot be read are named at once.

    Raises:
        UsdError: there are such.
    """
    bad: dict[Path, UsdError] = {}
    for path in queries:
        try:
            read_image(path, GLANCE)
        except UsdError as error:
            bad[path] = error
    if bad:
        first, *others = bad
        shown = ", ".join(path_text(Path(path.name)) for path in others[:SHOWN]) + (", …" if others[SHOWN:] else "")
        raise UsdError(f"{bad[first]}" + (f"; and {len(others)} more: {shown}" if others else ""))


def _write(image: PIL.Image.Image, picture: Path, note: dict[str, Any]) -> None:
    """Write a result and its JSON file, both or none; a picture that has none is not taken for a result."""
    written = io.BytesIO()
    image.save(written, format="PNG")
    note = note | {"output": {"path": path_text(picture), "sha256": sha256(written.getvalue())}}
    text = json.dumps(note, indent=1, ensure_ascii=False) + "\n"
    atomic_write(picture.with_suffix(".json"), text, (picture, written.getvalue()))


def _origin(model: Path) -> dict[str, Any]:
    """The model's weights and the versions of what ran them."""
    weights = sorted(model.rglob("*.safetensors"))
    return {
        "model": path_text(model),
        "weights_sha256": {str(path.relative_to(model)): sha256(path.read_bytes()) for path in weights},
        "versions": {name: version(name) for name in ("us-diffusion", "torch", "diffusers")},
    }


def _file(path: Path) -> dict[str, str]:
    return {"path": path_text(path), "sha256": sha256(path.read_bytes())}
