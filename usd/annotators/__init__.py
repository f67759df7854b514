"""Annotators: networks and operators that read a map off an image."""
