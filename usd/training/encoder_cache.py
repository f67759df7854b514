"""What a frozen base's encoders say of a picture or a prompt, computed once."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from usd.model.base import Base, encode, encode_text


class EncoderCache:
    """VAE latents and text states of a frozen base, kept in memory; the least recently used make way.

    Each picture and prompt is encoded alone. So the result does not depend on the rest of its batch, and a resumed
    training, whose cache is empty, goes on with the same bits.

    Args:
        limit: bytes of memory that the results may take.
    """

    def __init__(self, base: Base, limit: int) -> None:
        self.base, self.limit, self.size = base, limit, 0
        self.known: OrderedDict[bytes, Tensor] = OrderedDict()

    def latents(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] to latents (B, C, h, w)."""
        return torch.cat([self._recall(_digest(one), partial(encode, self.base.vae, one)) for one in images.split(1)])

    def text(self, prompts: list[str]) -> Tensor:
        """Text states (B, L, D)."""
        return torch.cat([self._recall(one.encode(), partial(encode_text, self.base, [one])) for one in prompts])

    def _recall(self, key: bytes, compute: Callable[[], Tensor]) -> Tensor:
        if key in self.known:
            self.known.move_to_end(key)
            return self.known[key].to(self.base.unet.device)
        value = compute()
        self.known[key] = value.cpu()
        self.size += value.nbytes
        while self.size > self.limit:
            self.size -= self.known.popitem(last=False)[1].nbytes
        return value


def _digest(image: Tensor) -> bytes:
    return hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).digest()
