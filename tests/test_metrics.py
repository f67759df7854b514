import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from tests.conftest import ROOT
from usd.errors import UsdError
from usd.evaluation.gate import Check, read_metrics
from usd.evaluation.metrics import efficientnet_features, frechet_distance, kernel_distance, mean_iou, rmse
from usd.stages import report


def test_rmse_is_the_root_of_the_mean_over_images() -> None:
    truth = torch.zeros(2, 3, 4, 4)
    found = torch.stack([torch.full((3, 4, 4), 0.3), torch.full((3, 4, 4), 0.4)])
    assert rmse(found, truth) == pytest.approx(np.sqrt((0.09 + 0.16) / 2))


def test_distances_are_zero_for_equals_and_grow_with_the_shift() -> None:
    real = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    near, far = real + 0.5, real + 2
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(real, near) == pytest.approx(8 * 0.25, rel=1e-3)  # equal covariances: |shift|²
    assert kernel_distance(real, near) < kernel_distance(real, far)


def test_the_frechet_distance_is_that_of_torchmetrics() -> None:
    class Given(torch.nn.Module):
        num_features = 8

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    real = torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    fake = real.roll(1, 1) * 1.3 + 0.2
    reference = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    reference.update(real.double(), real=True)
    reference.update(fake.double(), real=False)
    assert frechet_distance(real, fake) == pytest.approx(float(reference.compute()), rel=1e-4)


def test_mean_iou_counts_classes_of_the_truth() -> None:
    truth, found = np.array([[[0, 0, 1, 1]]]), np.array([[[0, 1, 1, 1]]])
    assert mean_iou(found, truth) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_features_are_pretrained_and_separate_images() -> None:
    features = efficientnet_features(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (2, 1280)
    assert features.std() > 0.05


def test_a_check_fails_on_the_wrong_side_and_on_nan() -> None:
    assert Check("a", 1.0, least=1.0).passed
    assert not Check("a", 0.9, least=1.0).passed
    assert not Check("a", float("nan"), most=1.0).passed


def test_a_variant_without_sga_is_reported_too(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results", tmp_path / "results")
    path = tmp_path / "results/us_diffusion/metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["indicator_accuracy"]
    path.write_text(json.dumps(metrics))
    report.main(tmp_path / "results")
    assert "## Indicator" not in (tmp_path / "results/report.md").read_text()


def test_the_gate_names_a_missing_file(tmp_path) -> None:
    with pytest.raises(UsdError, match=r"prompt_diffusion/metrics\.json: not readable"):
        read_metrics(tmp_path)
