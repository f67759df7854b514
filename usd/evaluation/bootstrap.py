"""Paired bootstrap over the items of the manifest.

Both variants answer the same items. A replicate draws the items anew, with replacement, and the draws depend on the
seed and the number of items alone. So replicate r of one variant and replicate r of another saw the same items, and
the differences between them are the paired bootstrap distribution, whatever process computed them.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LEVEL = 0.95  # share of the replicates that an interval holds


@dataclass(frozen=True)
class Interval:
    """A difference and its 95 % interval."""

    delta: float
    low: float
    high: float

    @property
    def is_below_zero(self) -> bool:
        """Whether the interval excludes zero on the lower side: of an error, that it is better."""
        return self.high < 0

    @property
    def is_above_zero(self) -> bool:
        """Whether the interval excludes zero on the upper side."""
        return self.low > 0

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def resamples(items: int, replicates: int, seed: int) -> np.ndarray:
    """Item numbers of every replicate, (replicates, items)."""
    return np.random.default_rng((seed, items)).integers(items, size=(replicates, items))


def rmse_replicates(squared: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """RMSE of every replicate, (R,), from the squared errors of the items, (N,)."""
    found: np.ndarray = np.sqrt(squared[draws].mean(1))
    return found


def fd_replicates(real: "Tensor", fake: "Tensor", draws: np.ndarray) -> np.ndarray:
    """Fréchet distance of every replicate, (R,), from features (N, D) of truths and results.

    A repeated item counts as a weight w. With rows √(w / (N − 1)) · (x − mean) for the distinct items the covariance is
    XᵀX, so the trace of the root is the sum of the singular values of X₁X₂ᵀ, as in `metrics.frechet_distance`.
    All products come from three Gram matrices, which are computed once.
    """
    a, b = real.double().numpy(), fake.double().numpy()
    grams = (a @ a.T, b @ b.T, a @ b.T)
    return np.array([_weighted_distance(grams, row) for row in draws])


def _weighted_distance(grams: tuple[np.ndarray, np.ndarray, np.ndarray], row: np.ndarray) -> float:
    items, counts = np.unique(row, return_counts=True)
    share = counts / len(row)
    scale = len(row) / (len(row) - 1)
    own_real, own_fake, cross = (gram[np.ix_(items, items)] for gram in grams)
    left, right = cross @ share, share @ cross  # products with the means
    shift = share @ own_real @ share + share @ own_fake @ share - 2 * share @ left
    traces = sum(share @ np.diag(own) - share @ own @ share for own in (own_real, own_fake))
    centred = cross - left[:, None] - right[None, :] + share @ left
    root = np.sqrt(share)
    singular = np.linalg.svd(root[:, None] * centred * root[None, :], compute_uv=False)
    return float(shift + scale * (traces - 2 * singular.sum()))


def interval(delta: float, differences: np.ndarray) -> Interval:
    """The interval of a measured difference, from the differences of the replicates.

    The replicates are centred on `delta`: a Fréchet distance of repeated items is larger than that of all, by an
    amount that does not cancel out when two distances of unlike size are compared.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(differences - differences.mean(), [tail, 1 - tail])
    return Interval(round(float(delta), 5), round(float(delta + low), 5), round(float(delta + high), 5))
