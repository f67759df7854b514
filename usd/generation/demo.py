"""`usd demo`: a local page on which to click an example pair, upload a query and see the result beside it."""

import socket
import time
from pathlib import Path

import PIL.Image

from usd.errors import UsdError
from usd.generation.files import GLANCE, Request, generate_picture, load_pipeline, read_example, read_image
from usd.generation.prompts import prompt_warnings
from usd.inference.pipeline import USDiffusionPipeline

try:
    import gradio as gr
except ModuleNotFoundError as error:
    remedy = "install its extra: pip install --constraint constraints-extra.txt --editable '.[demo]'"
    raise UsdError(f"usd demo: {error}; {remedy}") from error

PICTURES = ("source.png", "target.png", "query.png")
PROMPT = "prompt.txt"
CSS = ".picture img { width: 100%; height: 100%; object-fit: contain; image-rendering: pixelated; }"


def examples_of(folder: Path) -> list[list[str]]:
    """Source, target, query and prompt of each of its folders, in the order of their names.

    Raises:
        UsdError: it holds no such folder, or one lacks a file or has one that is not readable.
    """
    folders = sorted(path for path in folder.glob("*") if path.is_dir())
    if not folders:
        raise UsdError(f"{folder}: no example there; --examples takes a folder of folders, one for each example pair")
    for path in (each / name for each in folders for name in (*PICTURES, PROMPT)):
        if not path.is_file():
            raise UsdError(f"{path}: missing; an example has {', '.join(PICTURES)} and {PROMPT}")
    return [_example(each) for each in folders]


def _example(folder: Path) -> list[str]:
    source, target, query, prompt = (folder / name for name in (*PICTURES, PROMPT))
    read_example(source, target, GLANCE)
    read_image(query, GLANCE)
    try:
        return [str(source), str(target), str(query), prompt.read_text(encoding="utf-8").strip()]
    except (OSError, ValueError) as error:
        raise UsdError(f"{prompt}: not readable ({error}); save it as UTF-8") from error


def check_address(host: str, port: int | None) -> None:
    """Refuse what cannot be served at, before the model is loaded; gradio would try a hundred ports of a wrong host.

    Raises:
        UsdError: there is no such host on this machine, or no such port, or it is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)[0]
        socket.create_server((address[0], port or 0), family=family).close()
    except (OSError, OverflowError, UnicodeError) as error:
        at = host if port is None else f"{host}, port {port}"
        raise UsdError(f"usd demo: {at}: {error}; choose another --host or --port") from error


def build(pipeline: USDiffusionPipeline, examples: list[list[str]]) -> gr.Blocks:
    """The page, not yet served; `examples` are rows of source, target, query and prompt."""
    size = pipeline.picture_size

    def answer(
        source: str | None, target: str | None, query: str | None, prompt: str, steps: int, seed: int | None
    ) -> tuple[PIL.Image.Image, str, dict[str, float]]:
        try:
            if not (source and target and query):
                raise UsdError("Click an example pair and upload a query.")
            pair = read_example(Path(source), Path(target), size)
            request = Request(prompt, task=None, steps=int(steps) or None, guidance_scale=None, seed=int(seed or 0))
            picked = read_image(Path(query), size)
            began = time.perf_counter()
            picture, indicator = generate_picture(pipeline, pair, picked, request)
            seconds = time.perf_counter() - began
        except UsdError as error:
            raise gr.Error(str(error)) from error
        for warning in prompt_warnings(pipeline, prompt):
            gr.Warning(warning)
        return picture, f"{seconds:.2f} s ({pipeline.device})", indicator

    page: gr.Blocks = gr.Blocks(title="US-Diffusion", analytics_enabled=False)
    with page:
        gr.Markdown("# US-Diffusion\nShow it one example pair; it does the same to your query.")
        with gr.Row():
            source, target, query = (_upload(name) for name in ("Example source", "Example target", "Query"))
            result = gr.Image(
                label="Result", format="png", height=260, interactive=False, elem_id="result", elem_classes="picture"
            )
        with gr.Row():
            prompt = gr.Textbox(label="Prompt", info="A caption for images; none for maps: the pair says which.")
            steps = gr.Slider(0, 20, value=0, step=1, label="Steps", info="Length of the ESS list; 0: the model's own.")
            seed = gr.Number(0, label="Seed", info="Seed of the starting noise.", precision=0, minimum=0, maximum=2**53)
        run = gr.Button("Run", variant="primary")
        gr.Examples(examples, [source, target, query, prompt], label="Example pairs", elem_id="examples")
        with gr.Row():
            timing = gr.Textbox(label="Time", interactive=False, elem_id="time")
            indicator = gr.Label(label="Task read off the pair", num_top_classes=3)
        run.click(answer, [source, target, query, prompt, steps, seed], [result, timing, indicator], api_name="answer")
    return page


def serve(
    model: Path, examples: Path, host: str = "127.0.0.1", port: int | None = None, wait: bool = True
) -> gr.Blocks:
    """Serve the page of a trained model; with `wait`, until Ctrl-C. Its address is `local_url` of what returns.

    Raises:
        UsdError: there is no such model or example, or it cannot be served at this host and port.
    """
    check_address(host, port)
    rows = examples_of(examples)
    page = build(load_pipeline(model), rows)
    try:
        page.launch(server_name=host, server_port=port, share=False, css=CSS, prevent_thread_lock=not wait)
    except OSError as error:
        raise UsdError(f"usd demo: {error}; choose another --port") from error
    return page


def _upload(name: str) -> gr.Image:
    """A picture, handed on as the uploaded file, so that it is read as `usd generate` reads it."""
    return gr.Image(
        label=name,
        type="filepath",
        image_mode=None,
        sources=["upload"],
        height=260,
        elem_id=name.split()[-1].lower(),
        elem_classes="picture",
    )
