"""Timestep lists and losses."""
