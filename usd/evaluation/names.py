"""What the files of results call metrics, in-context tests and yardsticks."""

from usd.tasks import Direction

HEADLINE: dict[Direction, str] = {"image2map": "rmse", "map2image": "fd"}  # what sampling is chosen by
SETTINGS = ("black_pair", "foreign_pair", "other_prompt", "two_pairs", "four_pairs")  # of the in-context tests
BASE_ALONE, CONTROL_ALONE = "base alone", "control branch alone"
BLURRED, REAL = "blurred truth", "other real images"
MEAN_MAP, COLOUR = "mean map", "mean colour of the example's target"
COPY, COPY_QUERY = "copy of the example's target", "copy of the query"
TRIVIAL = (MEAN_MAP, COLOUR, COPY, COPY_QUERY)
