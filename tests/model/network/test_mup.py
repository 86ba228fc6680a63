"""muP against its rules written out here, and by what they are for: sizes that keep with width."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.export import transformers_config, transformers_weights
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training import checkpoint
from minigpt_search.model.training.optim import make_optimizer, put_lrs_on_device, set_lr
from minigpt_search.model.training.step import Step
from minigpt_search.model.training.train import train, train_packed

BASE = 32
WIDTHS = (32, 64, 128, 256, 512)


def config_of(width: int, parametrization: str, **fields: Any) -> RunConfig:
    return RunConfig().replace(
        **{
            "vocab_size": 60,
            "seq_len": 16,
            "embed_dim": width,
            "dropout": 0.0,
            "parametrization": parametrization,
            "mup_base_dim": BASE,
            "batch_size": 8,
        }
        | fields
    )


def model_of(config: RunConfig) -> GPT:
    torch.manual_seed(0)
    return GPT(config.model, config.width_ratio)


# Table 8 of arXiv 2203.03466, its rows for Adam, by parameter: the powers of the width ratio that
# initial standard deviation, rate and AdamW's decay (as `mup.MuAdamW` has it) go with.
RULES = {
    "token_embedding.weight": (0, 0, 0),
    "position_embedding.weight": (0, 0, 0),
    "attention.qkv.weight": (-0.5, -1, 1),
    "attention.out.weight": (-0.5, -1, 1),
    "expand.weight": (-0.5, -1, 1),
    "contract.weight": (-0.5, -1, 1),
    "head.weight": (0, 0, 0),
    "bias": (None, 0, None),
    "norm_attention.weight": (None, 0, None),
    "norm_feed_forward.weight": (None, 0, None),
    "norm.weight": (None, 0, None),
}


@pytest.mark.parametrize("tie_head", [True, False])
def test_initialisation_rates_and_decay_follow_the_papers_table(tie_head: bool) -> None:
    standard, wide = (
        config_of(256, name, tie_head=tie_head, weight_decay=0.3) for name in ("standard", "mup")
    )
    models = [model_of(standard), model_of(wide)]
    optimizers = [
        make_optimizer(model, config.train)
        for model, config in zip(models, (standard, wide), strict=True)
    ]
    groups: list[dict[int, dict[str, Any]]] = []
    for optimizer in optimizers:
        set_lr(optimizer, 0.01)
        groups.append({id(p): group for group in optimizer.param_groups for p in group["params"]})
    ratio = 256 / BASE
    for name, parameter in models[1].named_parameters():
        rule = max((rule for rule in RULES if name.endswith(rule)), key=len)
        std, rate, decay = RULES[rule]
        plain = models[0].get_parameter(name)
        before, after = groups[0][id(plain)], groups[1][id(parameter)]
        assert after["lr"] == pytest.approx(before["lr"] * ratio**rate), name
        if std is None:
            assert torch.equal(parameter, plain)
            assert before["weight_decay"] == after["weight_decay"] == 0
        else:
            assert decay is not None
            torch.testing.assert_close(parameter, plain * ratio**std)
            assert after["weight_decay"] == pytest.approx(0.3 * ratio**decay)
    counted = sum(len(group["params"]) for group in optimizers[1].param_groups)
    assert counted == len(list(models[1].parameters()))


def test_rates_that_lie_on_a_device_are_each_groups_own() -> None:
    config = config_of(256, "mup")
    optimizer = make_optimizer(model_of(config), config.train)
    put_lrs_on_device(optimizer.param_groups, torch.device("cpu"))
    places = [group["lr"].data_ptr() for group in optimizer.param_groups]
    set_lr(optimizer, 0.01)
    rates = [group["lr"].item() for group in optimizer.param_groups]
    assert rates == pytest.approx([0.01, 0.01, 0.01 / 8])
    assert [group["lr"].data_ptr() for group in optimizer.param_groups] == places


def reference_logits(model: GPT, tokens: Tensor, ratio: float) -> Tensor:
    """The forward pass written out with muP's multipliers, from the model's weights."""
    config, p = model.config, dict(model.named_parameters())
    heads, width, t = config.n_heads, config.embed_dim, tokens.shape[1]

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
        return torch.nn.functional.layer_norm(x, (width,), weight, bias)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    x = p["token_embedding.weight"][tokens] + p["position_embedding.weight"][:t]
    for number in range(config.n_layers):
        name = f"blocks.{number}"
        q, k, v = (
            part.view(*tokens.shape, heads, -1).transpose(1, 2)
            for part in linear(norm(x, f"{name}.norm_attention"), f"{name}.attention.qkv").split(
                width, dim=2
            )
        )
        d_head, base_d_head = width / heads, width / ratio / heads
        logits = q @ k.transpose(2, 3) * math.sqrt(base_d_head) / d_head  # 1 / d, not 1 / sqrt(d)
        logits = logits.masked_fill(torch.ones(t, t).triu(1).bool(), -torch.inf)
        attended = (logits.softmax(3) @ v).transpose(1, 2).reshape(x.shape)
        x = x + linear(attended, f"{name}.attention.out")
        hidden = linear(norm(x, f"{name}.norm_feed_forward"), f"{name}.expand")
        x = x + linear(torch.nn.functional.gelu(hidden, approximate="tanh"), f"{name}.contract")
    return norm(x, "norm") @ model.head.weight.T / ratio


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def scrambled(request: pytest.FixtureRequest) -> GPT:
    """A model whose every parameter matters."""
    model = model_of(config_of(96, "mup", tie_head=request.param)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def test_multipliers_are_one_over_width_for_head_and_attention(scrambled: GPT) -> None:
    tokens = torch.randint(60, (3, 16))
    expected = reference_logits(scrambled, tokens, 96 / BASE)
    torch.testing.assert_close(scrambled.logits(tokens), expected, rtol=1e-4, atol=1e-4)
    loss = torch.nn.functional.cross_entropy(expected.flatten(0, 1), tokens.flatten())
    torch.testing.assert_close(scrambled.loss(tokens, tokens), loss, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_export_has_them_folded_in(scrambled: GPT) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel  # two seconds

    peer = GPT2LMHeadModel(GPT2Config(**transformers_config(scrambled.config))).eval()
    peer.load_state_dict(transformers_weights(scrambled), strict=False)
    tokens = torch.randint(60, (3, 16))
    torch.testing.assert_close(scrambled.logits(tokens), peer(tokens).logits, rtol=1e-4, atol=1e-4)


def test_at_the_base_width_it_is_the_standard_to_the_bit(corpus: Corpus, tiny: RunConfig) -> None:
    mup = tiny.replace(parametrization="mup", mup_base_dim=tiny.model.embed_dim)
    standard, same = train(tiny, corpus), train(mup, corpus)
    assert [e.val_loss_nats for e in standard.epochs] == [e.val_loss_nats for e in same.epochs]
    wide = train(mup.replace(mup_base_dim=8), corpus)
    assert wide.epochs[0].val_loss_nats != same.epochs[0].val_loss_nats


def test_a_checkpoint_knows_its_parametrization_and_packs_follow_it(
    corpus: Corpus, tiny: RunConfig, tmp_path: Any
) -> None:
    base = tiny.replace(parametrization="mup", mup_base_dim=4)
    configs = [base, base.replace(lr_peak=3e-3, seed=1)]
    alone = [
        train(config, corpus, checkpoint_dir=tmp_path / str(n)) for n, config in enumerate(configs)
    ]
    packed = train_packed(configs, corpus)
    for one, together in zip(alone, packed, strict=True):
        losses = [e.val_loss_nats for e in together.epochs]
        assert losses == pytest.approx([e.val_loss_nats for e in one.epochs], rel=1e-4)
    loaded, config, _ = checkpoint.load_model(tmp_path / "0" / "final.pt")
    assert loaded.width_ratio == config.width_ratio == 4


# The coordinate check of the paper's appendix D.1, as `mup.coord_check` does it.

LAYERS = ("blocks.0", "blocks.1", "head")


def sizes_after_steps(width: int, parametrization: str, steps: int) -> dict[str, float]:
    """Mean absolute change that `steps` of Adam make to the output of each layer, and "logits"
    the mean absolute logit then."""
    config = config_of(width, parametrization, lr_peak=0.01)
    model = model_of(config)
    tokens = torch.arange(8 * 16).remainder(7).view(8, 16)
    targets = tokens.mul(3).remainder(11)
    before = outputs(model, tokens)
    step = Step(model, config.train, "cpu")
    for _ in range(steps):
        step(tokens, targets, config.train.lr_peak)
    after = outputs(model, tokens)
    return {name: (after[name] - before[name]).abs().mean().item() for name in before}


@torch.no_grad()
def outputs(model: GPT, tokens: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, given, made: found.setdefault(name, made)

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in LAYERS]
    model.logits(tokens)
    for hook in hooks:
        hook.remove()
    return found


def slopes(parametrization: str, steps: int = 3) -> dict[str, float]:
    """By layer, the power of the width that the change goes with, from 32 to 512."""
    sizes: dict[str, list[float]] = defaultdict(list)
    for width in WIDTHS:
        for name, size in sizes_after_steps(width, parametrization, steps).items():
            sizes[name].append(math.log2(size))
    log_widths = torch.tensor([math.log2(width) for width in WIDTHS])
    centred = log_widths - log_widths.mean()
    return {
        name: float((torch.tensor(values) * centred).sum() / centred.square().sum())
        for name, values in sizes.items()
    }


def test_the_blocks_outputs_have_one_size_at_the_start_under_mup() -> None:
    tokens = torch.arange(8 * 16).remainder(7).view(8, 16)
    sizes: dict[str, list[float]] = {}
    for parametrization in ("mup", "standard"):
        models = [model_of(config_of(width, parametrization)) for width in WIDTHS]
        sizes[parametrization] = [
            outputs(model, tokens)["blocks.1"].abs().mean().item() for model in models
        ]
    assert sizes["mup"] == pytest.approx([sizes["mup"][0]] * len(WIDTHS), rel=0.1)
    assert sizes["standard"][-1] > 3 * sizes["standard"][0]


def test_changes_keep_their_size_with_width_under_mup_and_grow_without() -> None:
    flat, growing = slopes("mup"), slopes("standard")
    assert all(abs(slope) < 0.2 for slope in flat.values()), flat
    assert growing["head"] > 0.5, growing
    assert all(growing[name] > flat[name] + 0.3 for name in LAYERS), (flat, growing)
