"""A model to call: the pipeline, picture files in and out, and the demo page."""
