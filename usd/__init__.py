"""US-Diffusion: in-context diffusion as a reproducible data-to-model pipeline."""

import logging

# diffusers loads it, and it asks for 4-bit kernels, which nothing here uses
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
