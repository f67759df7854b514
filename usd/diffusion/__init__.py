"""The noise schedule, timestep lists, the sampling loop and losses."""
