"""Samples: how they are stored, packed into shards and read."""
