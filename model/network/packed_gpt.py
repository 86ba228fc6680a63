"""Several models of one shape computed as one: the same operations, on stacked weights.

Source: Wang et al. 2021, "Horizontally Fused Training Array" (arXiv 2102.02344). Each member of a
pack stays a `GPT` of its own, whose weights are slices of the pack's: what reads or changes a
member (its optimizer, evaluation, a checkpoint) need not know of the pack. No operation mixes
members, so one whose numbers are no longer finite does no harm to the others.

Stacked are blocks, norms and positions: many small operations, most of a step's kernel launches.
The token embedding and the head, which are most of the arithmetic, go member by member, without
copies of their large matrix.

Shapes: K members, B sequences, T tokens, D width. K is folded into the batch: (K·B, T, D).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt_search.model.loss.cross_entropy import linear_cross_entropy
from minigpt_search.model.network.dropout import Dropout
from minigpt_search.model.network.gpt import GPT, Block


class PackedGPT(nn.Module):
    """Computes the members' losses, each with dropout from the member's own random stream.

    `members` are of one shape and on one device; from here on their weights are slices of the
    pack's. A member may go on alone, or in another pack.
    """

    def __init__(self, members: Sequence[GPT]) -> None:
        super().__init__()
        self.members = tuple(members)  # a tuple: they are not submodules
        self.position_embedding = _PackedPositions([m.position_embedding for m in members])
        self.dropout = _pack_dropout([m.dropout for m in members])
        # Blocks to hang the packed parts in; on "meta" they take no memory and draw no numbers.
        with torch.device("meta"):
            layout = [Block(m.config, m.width_ratio) for m in members[:1] for _ in m.blocks]
        self.blocks = nn.ModuleList(layout)
        for number, block in enumerate(self.blocks):
            _pack_children(block, [m.blocks[number] for m in members])
        self.norm = _PackedLayerNorm([m.norm for m in members])
        # Each packed parameter with the members' slices of it: names are those of a single model.
        self.slices = [
            (packed, [m.get_parameter(name) for m in members])
            for name, packed in self.named_parameters()
        ]

    def forward(self, tokens: Tensor) -> Tensor:
        """The members' hidden states (K, B·T, D) of tokens (K, B, T), each as of `GPT.forward`."""
        return self._hidden_and_heads(tokens)[0]

    def _hidden_and_heads(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What `forward` gives, and each member's head (V, D) as `GPT.embed` has it."""
        k, _, t = tokens.shape
        pairs = [m.embed(own) for m, own in zip(self.members, tokens, strict=True)]
        embedded = torch.stack([rows for rows, _ in pairs])
        x = self.dropout((embedded + self.position_embedding(t)).flatten(0, 1))  # (K·B, T, D)
        for block in self.blocks:
            x = block(x)
        hidden = self.members[0].for_head(self.norm(x)).view(k, -1, x.shape[2])
        return hidden, [head for _, head in pairs]

    def losses(
        self, tokens: Tensor, targets: Tensor, dtype: torch.dtype = torch.float32
    ) -> list[Tensor]:
        """Each member's mean cross-entropy a token in nats, as `GPT.loss`; tokens and targets
        (K, B, T)."""
        with torch.autocast(tokens.device.type, dtype=dtype, enabled=dtype.itemsize < 4):
            hidden, heads = self._hidden_and_heads(tokens)
        return [
            linear_cross_entropy(rows, head, own.flatten(), dtype=dtype)
            for head, rows, own in zip(heads, hidden.unbind(0), targets, strict=True)
        ]

    def clear_gradients(self) -> None:
        """Forget the gradients that a backward pass would add to: the pack's, and those of what
        is computed member by member, embedding and head (one parameter if they are tied)."""
        for packed, _ in self.slices:
            packed.grad = None
        for member in self.members:
            member.token_embedding.weight.grad = member.head.weight.grad = None

    def share_gradients(self) -> None:
        """Give each member its slices of the gradients, without a copy."""
        for packed, of_members in self.slices:
            assert packed.grad is not None
            for own, grad in zip(of_members, packed.grad.unbind(0), strict=True):
                own.grad = grad


def _stack(parts: Sequence[Tensor]) -> nn.Parameter:
    """One parameter (K, ...) of the members' `parts`, each of which becomes a slice of it."""
    stacked = nn.Parameter(torch.stack([part.detach() for part in parts]))
    for part, own in zip(parts, stacked.detach().unbind(0), strict=True):
        part.data = own
    return stacked


class _PackedLinear(nn.Module):
    """The members' linear layers as one batched product; E outputs."""

    def __init__(self, members: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _stack([m.weight for m in members])  # (K, E, D)
        self.bias = _stack([m.bias for m in members])  # (K, E)

    def forward(self, x: Tensor) -> Tensor:
        """Each member's layer on its part: x (K·B, T, D) to (K·B, T, E)."""
        rows = x.reshape(len(self.weight), -1, x.shape[2])  # (K, B·T, D)
        y = torch.baddbmm(self.bias[:, None], rows, self.weight.transpose(1, 2))
        return y.view(*x.shape[:2], -1)


class _PackedLayerNorm(nn.Module):
    """The members' norms: one normalisation, then each member's own weight and bias."""

    def __init__(self, members: Sequence[nn.LayerNorm]) -> None:
        super().__init__()
        self.eps = members[0].eps
        self.weight = _stack([m.weight for m in members])  # (K, D)
        self.bias = _stack([m.bias for m in members])

    def forward(self, x: Tensor) -> Tensor:
        """Each member's norm on its part: x (K·B, T, D) to (K·B, T, D)."""
        normal = F.layer_norm(x, x.shape[2:], eps=self.eps).view(len(self.weight), -1, x.shape[2])
        return torch.addcmul(self.bias[:, None], normal, self.weight[:, None]).view_as(x)


class _PackedPositions(nn.Module):
    """The members' position embeddings."""

    def __init__(self, members: Sequence[nn.Embedding]) -> None:
        super().__init__()
        self.weight = _stack([m.weight for m in members])  # (K, T, D)

    def forward(self, t: int) -> Tensor:
        """The embeddings of the first t positions, (K, 1, t, D)."""
        return self.weight[:, None, :t]


def _pack_dropout(members: Sequence[Dropout]) -> Dropout:
    """One dropout that draws each member's part of its mask from the member's own stream."""
    packed = Dropout(members[0].p)
    packed.generators = tuple(generator for m in members for generator in m.generators)
    return packed


_PACKED: dict[type[nn.Module], Any] = {
    nn.Linear: _PackedLinear,
    nn.LayerNorm: _PackedLayerNorm,
    Dropout: _pack_dropout,
}


def _pack_children(packed: nn.Module, members: Sequence[nn.Module]) -> None:
    """Replace every linear layer, norm and dropout in `packed`, a module laid out as the members,
    by one of all members'."""
    for name, child in packed.named_children():
        of_members = [m.get_submodule(name) for m in members]
        if type(child) in _PACKED:
            setattr(packed, name, _PACKED[type(child)](of_members))
        else:
            _pack_children(child, of_members)
