import numpy as np
import pytest
import torch

from usd.evaluation.metrics import (
    blurred,
    efficientnet_features,
    frechet_distance,
    kernel_distance,
    mean_iou,
    nearest,
    rmse,
)


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
    from torchmetrics.image.fid import FrechetInceptionDistance

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


def test_the_nearest_truth_is_named() -> None:
    truths = {"black": torch.zeros(2, 3, 4, 4), "white": torch.ones(2, 3, 4, 4)}
    found = torch.stack([torch.full((3, 4, 4), 0.4), torch.full((3, 4, 4), 0.6)])
    assert nearest(found, truths) == ["black", "white"]


def test_blurring_keeps_the_mean_and_removes_the_detail() -> None:
    fine = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = blurred(fine)
    assert found.shape == fine.shape
    assert float(found.mean()) == pytest.approx(float(fine.mean()), abs=0.02)
    assert found.std() < 0.2 * fine.std()
