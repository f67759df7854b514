"""Metrics of a trained model: the fixed manifest, the choice of sampling, grids, gate and report."""
