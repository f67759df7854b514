"""Timestep lists, predictions, the sampling loop and losses."""
