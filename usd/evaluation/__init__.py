"""Metrics of a trained model: the fixed manifest, the choice of sampling, grids, yardsticks, times."""
