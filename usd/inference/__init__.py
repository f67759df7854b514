"""A model to call: the pipeline."""
