"""Your own pictures as a dataset: checked, repaired where that is safe, and split."""
