"""Schedule and optimizer against formulas written here."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.model.config import ModelConfig, TrainConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.optim import lr_at, make_optimizer, set_lr


@given(warmup=st.integers(0, 60), decay=st.integers(1, 60), lr_peak=st.floats(1e-6, 1))
def test_schedule_is_the_line_through_zero_peak_and_zero(
    warmup: int, decay: int, lr_peak: float
) -> None:
    total = warmup + decay
    rates = [
        lr_at(step, lr_peak=lr_peak, warmup_steps=warmup, total_steps=total)
        for step in range(total)
    ]
    expected = [
        lr_peak * min((step + 1) / warmup if warmup else 1.0, 1 - (step - warmup) / decay)
        for step in range(total)
    ]
    assert rates == pytest.approx(expected)
    assert max(rates) == pytest.approx(lr_peak)
    assert min(rates) > 0


def test_schedule_as_torch_s_own_schedulers_have_it() -> None:
    lr_peak, warmup, total = 2e-3, 5, 20
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr_peak)
    scheduler = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1),
            torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total - warmup),
        ],
        milestones=[warmup],
    )
    for step in range(total):
        ours = lr_at(step, lr_peak=lr_peak, warmup_steps=warmup, total_steps=total)
        assert ours == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_a_run_of_one_step_without_warm_up_has_the_peak() -> None:
    assert lr_at(0, lr_peak=0.5, warmup_steps=0, total_steps=1) == 0.5


@pytest.mark.parametrize("tie_head", [True, False])
def test_exactly_the_matrices_decay(tie_head: bool) -> None:
    model = GPT(ModelConfig(vocab_size=50, embed_dim=16, tie_head=tie_head))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, plain = make_optimizer(model, TrainConfig(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    groups = [[names[id(p)] for p in group["params"]] for group in (decayed, plain)]
    assert sorted(groups[0] + groups[1]) == sorted(names.values())
    assert all("norm" in name or name.endswith("bias") for name in groups[1])
    assert not any(name.endswith("bias") or "norm" in name for name in groups[0])


def test_steps_are_adamw_s_as_in_its_paper() -> None:
    config = TrainConfig(beta1=0.9, beta2=0.95, weight_decay=0.1)
    model = GPT(ModelConfig(vocab_size=20, seq_len=4, embed_dim=8, n_heads=2)).double()
    optimizer = make_optimizer(model, config)
    parameters = list(model.parameters())
    expected = [p.detach().clone() for p in parameters]
    mean = [torch.zeros_like(p) for p in expected]
    square = [torch.zeros_like(p) for p in expected]
    for step, lr in enumerate((1e-2, 3e-3, 1e-3), start=1):
        set_lr(optimizer, lr)
        for k, parameter in enumerate(parameters):
            gradient = torch.randn_like(parameter)
            parameter.grad = gradient.clone()
            mean[k] = 0.9 * mean[k] + 0.1 * gradient
            square[k] = 0.95 * square[k] + 0.05 * gradient**2
            decay = 0.1 if parameter.dim() == 2 else 0.0
            update = (mean[k] / (1 - 0.9**step)) / ((square[k] / (1 - 0.95**step)).sqrt() + 1e-8)
            expected[k] = expected[k] * (1 - lr * decay) - lr * update
        optimizer.step()
    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-6, atol=1e-9)


WITHOUT_DYNAMO = """
import sys
import torch
from minigpt_search.model.config import ModelConfig, TrainConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.optim import make_optimizer
config = TrainConfig()
model = GPT(ModelConfig(vocab_size=20, seq_len=4, embed_dim=8, n_heads=2))
optimizer = make_optimizer(model, config)
tokens = torch.zeros(2, 4, dtype=torch.int64)
model.loss(tokens, tokens, torch.float32).backward()
torch.amp.GradScaler("cpu", enabled=False).step(optimizer)
optimizer.zero_grad(set_to_none=True)
optimizer.load_state_dict(optimizer.state_dict())
print(optimizer.state_dict()["state"][0]["step"].item(), "torch._dynamo" in sys.modules)
"""


def test_a_step_and_its_checkpoint_load_nothing_of_the_compiler() -> None:
    printed = subprocess.check_output([sys.executable, "-c", WITHOUT_DYNAMO], text=True)
    assert printed.split() == ["1.0", "False"]


def test_steps_are_torch_s_to_the_bit() -> None:
    config, shape = TrainConfig(), ModelConfig(vocab_size=20, seq_len=4, embed_dim=8, n_heads=2)
    ours, theirs = GPT(shape), GPT(shape)
    theirs.load_state_dict(ours.state_dict())
    optimizer, plain = make_optimizer(ours, config), make_optimizer(theirs, config)
    groups = [
        {key: group[key] for key in ("params", "weight_decay")} for group in plain.param_groups
    ]
    betas = (config.beta1, config.beta2)
    reference = torch.optim.AdamW(groups, lr=config.lr_peak, betas=betas, fused=True)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        optimizer.step()
        reference.step()
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
