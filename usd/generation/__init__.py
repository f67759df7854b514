"""`usd generate` and `usd demo`: picture files in and out, and the demo page."""
