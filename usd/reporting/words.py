"""The words that people read for variants, tasks and metrics."""

from usd.config.training import BASELINE, OURS
from usd.tasks import TASKS

VARIANT_NAMES = {
    OURS: "US-Diffusion",
    BASELINE: "Prompt Diffusion",
    "no_sga": "without SGA",
    "no_fal": "without FAL",
    "no_ess": "without ESS",
    "no_self_estimates": "without self-estimates",
}
NAMES = VARIANT_NAMES | {
    "image2map": "Image2Map",
    "map2image": "Map2Image",
    "depth": "depth",
    "hed": "edges",
    "seg": "segments",
    "normal": "normals",
    "canny": "Canny edges",
    "outpaint": "outpainting",
    "rmse": "RMSE",
    "rmse_averaged": "RMSE, averaged indicator",
    "fd": "Fréchet distance",
    "fd_averaged": "Fréchet distance, averaged indicator",
    "kid": "KID",
    "adherence_rmse": "adherence RMSE",
    "adherence_of_truth": "adherence RMSE of the truth",
    "floor": "floor (RMSE of the mean map)",
    "floor_ratio": "RMSE / floor",
    "miou": "mIoU",
    "absrel": "AbsRel of inverse depth",
    "swapped_pair_change": "change of the output with another task's pair",
    "black_pair": "black pair",
    "foreign_pair": "another task's pair",
    "other_prompt": "map named, or no caption",
    "two_pairs": "2 pairs",
    "four_pairs": "4 pairs",
}


def named(key: str) -> str:
    """The words for a variant, direction, map, task, metric or setting; a key without words stands for itself."""
    if key in TASKS:
        task = TASKS[key]
        words = named(task.map.name)
        return f"image → {words}" if task.direction == "image2map" else f"{words} → image"
    return NAMES.get(key, key.replace("_", " "))


def number(value: float, digits: int | None = None) -> str:
    """A number with a true minus sign; — for NaN."""
    digits = places(value) if digits is None else digits
    return "—" if value != value else f"{value:.{digits}f}".replace("-", "−")


def places(value: float) -> int:
    """Digits after the point: four for errors, one for Fréchet distances, which are above ten."""
    return 1 if abs(value) >= 10 else 4
