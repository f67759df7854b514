"""The embedded dataset: rendered scenes with exact ground truth."""
