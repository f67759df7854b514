"""The training loop, and what it trains: annotators, base and control branch."""
