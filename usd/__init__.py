"""US-Diffusion: in-context diffusion as a reproducible data-to-model pipeline."""

__version__ = "0.1.0"
