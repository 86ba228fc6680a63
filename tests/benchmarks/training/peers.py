"""The contenders of `throughput.py`: this project's training step and its peers', each as a class
with `train(batches)`, on the same batches and from the same weights.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol
from unittest import mock

import torch
from emulated import is_emulated
from torch import Tensor, nn

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.export import transformers_config, transformers_weights
from minigpt_search.model.hardware.device import TORCH_TYPES, best_precision
from minigpt_search.model.loss.gpu import triton_runs
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training import loop
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.model.training.loop import Run

BLOCKS = "blocks"
"""This project's own way: the blocks by Inductor, the step as a graph."""


class Contender(Protocol):
    """Something that trains."""

    def train(self, batches: Iterable[Tensor]) -> float:
        """One step for each batch of sequence indices (B,), then wait for the device.

        Returns a loss in nats: after a single first step, that step's.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a contender's name stands for."""

    make: Callable[[RunConfig, Corpus, str, Kind], Contender]
    precision: str | None
    """Of the matrix products; None: what this project would choose on the device."""
    compile_mode: str | None = None
    """None is eager; else `torch.compile`'s mode, or `BLOCKS`."""
    package: str = "torch"
    """What must be installed."""
    only_on: str | None = None
    """A device, for what exists there alone."""


class Ours:
    """`model.training.loop.Run`, which the search's trainable runs: data, schedule, clipping,
    optimizer and the accounting of progress. On a GPU a step is a replayed graph, and whether its
    blocks are compiled is not left to the run's length but part of the name."""

    def __init__(self, config: RunConfig, corpus: Corpus, device: str, kind: Kind) -> None:
        self.loss_nats = math.nan
        hooks = Hooks(on_progress=self._remember)
        compiled = kind.compile_mode == BLOCKS
        if compiled and not triton_runs():
            raise RuntimeError("Triton doesn't run here, so that nothing is compiled")
        with mock.patch.object(loop, "is_compiled", lambda *_, **__: compiled):
            self.run = Run(config, corpus, device, None, math.inf, hooks)
        if compiled and not all("forward" in vars(block) for block in self.run.model.blocks):
            raise RuntimeError("the blocks are not compiled; a warning says why")

    def _remember(self, progress: Progress) -> None:
        self.loss_nats = progress.train_loss_nats

    def train(self, batches: Iterable[Tensor]) -> float:
        """As `Run.train_epoch` does it, which reports once a second: here once a call."""
        # At once, as an epoch's: one by one they would make a GPU wait at each step.
        order = self.run.batches.prepare_indices(torch.cat(list(batches)))
        for indices in order.split(self.run.config.train.batch_size):
            self.run.step(indices)
        self.run.report_progress()
        return self.loss_nats


class Peer:
    """The loop that a user writes around a library's model: autocast, clipping, fused AdamW; no
    schedule and no accounting, a little less work than ours does."""

    def __init__(
        self,
        config: RunConfig,
        corpus: Corpus,
        device: str,
        model: nn.Module,
        loss_of: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        recipe = config.train
        self.train_set = corpus.dataset("train", config.model.seq_len)
        self.device, self.dtype, self.loss_of = device, TORCH_TYPES[recipe.precision], loss_of
        self.clip_norm = recipe.grad_clip_norm
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=recipe.lr_peak,
            betas=(recipe.beta1, recipe.beta2),
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def train(self, batches: Iterable[Tensor]) -> float:
        loss = torch.tensor(math.nan)
        for indices in batches:
            x, y = self.train_set.batch(indices)  # (B, T) each
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            with torch.autocast(self.device, self.dtype, enabled=self.dtype.itemsize < 4):
                loss = self.loss_of(x, y)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
            self.optimizer.step()
        return loss.item()  # waits for the device


def our_weights(config: RunConfig) -> GPT:
    """The model with the weights that `Run` starts from."""
    torch.manual_seed(config.train.seed)
    return GPT(config.model)


def transformers_peer(config: RunConfig, corpus: Corpus, device: str, kind: Kind) -> Peer:
    """`transformers`' GPT-2 with fused attention and no cache of keys and values.

    On a CPU `attn_implementation="eager"` came to the same when compiled in bf16 at width 128:
    3,489 tokens a second against 3,414, of spreads 1,000 wide (two cores of an AMD EPYC,
    2026-11-22).
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = transformers_config(config.model)
    model = GPT2LMHeadModel(GPT2Config(**settings, use_cache=False, attn_implementation="sdpa"))
    model.load_state_dict(transformers_weights(our_weights(config)), strict=False)
    model.to(device).train()
    called = model if kind.compile_mode is None else torch.compile(model, mode=kind.compile_mode)

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        # Without `shift_labels` it would shift the labels itself and score T - 1 tokens.
        return called(input_ids=x, labels=y, shift_labels=y.contiguous()).loss

    return Peer(config, corpus, device, model, loss_of)


def x_transformers_peer(config: RunConfig, corpus: Corpus, device: str, kind: Kind) -> Peer:
    """`x-transformers`' decoder in GPT-2's shape; it has no biases in attention and norms, where
    GPT-2's are zero at the start."""
    from x_transformers import Decoder, TransformerWrapper

    shape, p = config.model, config.model.dropout
    decoder = Decoder(
        dim=shape.embed_dim,
        depth=shape.n_layers,
        heads=shape.n_heads,
        attn_dim_head=shape.embed_dim // shape.n_heads,
        attn_flash=True,
        attn_dropout=p,
        attn_sublayer_dropout=p,
        ff_sublayer_dropout=p,
        ff_custom_activation=nn.GELU(approximate="tanh"),
    )
    model = TransformerWrapper(
        num_tokens=shape.vocab_size,
        max_seq_len=shape.seq_len,
        attn_layers=decoder,
        emb_dropout=p,
        tie_embedding=True,
        tie_embedding_scale=1.0,
    )
    weights = x_transformers_weights(our_weights(config))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    # Its norms count their scale from 1, so that the zeros they start with are ours.
    if unexpected or any(not name.endswith("gamma") for name in missing):
        raise RuntimeError(f"x-transformers: other weights than expected: {missing} {unexpected}")
    model.to(device).train()

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())

    return Peer(config, corpus, device, model, loss_of)


def x_transformers_weights(ours: GPT) -> dict[str, Tensor]:
    """The weights at the start under `x-transformers`' names."""
    # It multiplies the position embedding by D^-0.5.
    positions = ours.position_embedding.weight * ours.config.embed_dim**0.5
    weights = {"token_emb.emb.weight": ours.token_embedding.weight, "pos_emb.emb.weight": positions}
    for number, block in enumerate(ours.blocks):
        attention = f"attn_layers.layers.{2 * number}.1"
        feed_forward = f"attn_layers.layers.{2 * number + 1}.1.ff"
        parts = block.attention.qkv.weight.chunk(3)
        weights |= {f"{attention}.to_{x}.weight": w for x, w in zip("qkv", parts, strict=True)}
        weights[f"{attention}.to_out.weight"] = block.attention.out.weight
        for name, layer in (("0.0", block.expand), ("2", block.contract)):
            weights[f"{feed_forward}.{name}.weight"] = layer.weight
            weights[f"{feed_forward}.{name}.bias"] = layer.bias
    return {name: weight.detach() for name, weight in weights.items()}


def _hf(precision: str, compile_mode: str | None = None, only_on: str | None = None) -> Kind:
    return Kind(
        make=transformers_peer,
        precision=precision,
        compile_mode=compile_mode,
        package="transformers",
        only_on=only_on,
    )


def _x(precision: str) -> Kind:
    return Kind(make=x_transformers_peer, precision=precision, package="x_transformers")


KINDS = {
    "ours": Kind(make=Ours, precision=None),
    "ours-compiled": Kind(make=Ours, precision=None, compile_mode=BLOCKS, only_on="cuda"),
    "ours-fp32": Kind(make=Ours, precision="fp32"),
    "transformers-fp32": _hf("fp32"),
    "transformers-bf16-autocast": _hf("bf16"),
    "transformers-fp32-compiled": _hf("fp32", "default"),
    "transformers-bf16-compiled": _hf("bf16", "default"),
    # CUDA graphs: what its users reach for where a small model waits for launches.
    "transformers-bf16-compiled-graphs": _hf("bf16", "reduce-overhead", only_on="cuda"),
    "x-transformers-fp32": _x("fp32"),
    "x-transformers-bf16-autocast": _x("bf16"),
}


def chosen(
    names: str | None, device: str, *, quick: bool = False
) -> tuple[list[str], dict[str, str]]:
    """The contenders of `--contenders`, or all that can run here; and by name why others that were
    meant are left out.

    `quick` leaves out the compiled ones unless they are named, and none that the device emulates,
    since a tiny model takes no time. Raises `UserError` for a name that can't be served.
    """
    if names is None:
        wanted = [
            name
            for name, kind in KINDS.items()
            if find_spec(kind.package)
            and kind.only_on in (None, device)
            and not (quick and kind.compile_mode)
        ]
    else:
        wanted = list(dict.fromkeys(name.strip() for name in names.split(",")))
        for name in wanted:
            _check(name, device)
    left_out = {
        name: f"this device only emulates {precision_of(name, device)}"
        for name in wanted
        if not quick and is_emulated(precision_of(name, device), device)
    }
    if len(left_out) == len(wanted):
        raise UserError(f"--contenders {names}: {next(iter(left_out.values()))}")
    return [name for name in wanted if name not in left_out], left_out


def _check(name: str, device: str) -> None:
    """Raise `UserError` for a contender that can't run here."""
    if name not in KINDS:
        raise UserError(f"--contenders {name}: give some of {', '.join(KINDS)}")
    kind = KINDS[name]
    if not find_spec(kind.package):
        raise UserError(f"--contenders {name}: not installed; pip install -e '.[bench]'")
    if kind.only_on not in (None, device):
        raise UserError(f"--contenders {name}: exists with --device {kind.only_on} only")


def precision_of(name: str, device: str) -> str:
    """fp32, bf16 or fp16."""
    return KINDS[name].precision or best_precision(device)
