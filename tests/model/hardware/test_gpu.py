"""What only a CUDA device can show: pytest -m gpu tests/model/hardware/test_gpu.py

References are float64 on the CPU, and the same run launched kernel by kernel.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.batching.source import ResidentBatches, batch_source
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.cuda_graph import StepGraph
from minigpt_search.model.hardware.device import TORCH_TYPES
from minigpt_search.model.loss import gpu as loss_gpu
from minigpt_search.model.loss.cross_entropy import linear_cross_entropy
from minigpt_search.model.network import embedding
from minigpt_search.model.network.compiled import compile_blocks
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.step import Step
from minigpt_search.model.training.train import Hooks, Progress, TrainResult, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # other versions of torch and Python than CI's
    pytest.mark.filterwarnings("error:no CUDA graph"),
    pytest.mark.filterwarnings("error:blocks are not compiled"),
    pytest.mark.filterwarnings("error:no Triton kernel for the embedding"),
]

ERRORS = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 2e-3}
"""Relative, of gradients: the rounding of one product in that type, some of it averaged away."""


def require_triton() -> None:
    """Skip where Triton isn't installed; where it is, a kernel that does not run is a failure."""
    pytest.importorskip("triton")
    assert loss_gpu.triton_fault() is None
    assert embedding.scatter_fault() is None


@pytest.fixture(params=["triton", "torch"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The head's softmax both ways."""
    if request.param == "torch":
        monkeypatch.setattr(loss_gpu, "triton_runs", lambda: False)
    else:
        require_triton()
    return str(request.param)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double().cpu() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("n", "v"), [(1, 7), (300, 5000), (300, 50_257)])
@pytest.mark.parametrize("precision", ERRORS)
def test_head_against_float64(
    kernel: str, precision: str, n: int, v: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_gpu, "CHUNK", 128)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 32, dtype=torch.float64, generator=generator)
    weight = torch.randn(v, 32, dtype=torch.float64, generator=generator) / 2
    targets = torch.randint(v, (n,), generator=generator)
    inputs = x.requires_grad_(), weight.requires_grad_()
    loss = F.cross_entropy(x @ weight.t(), targets)
    expected = torch.autograd.grad(loss, inputs)
    ours = tuple(t.detach().float().cuda().requires_grad_() for t in inputs)
    found = linear_cross_entropy(*ours, targets.cuda(), dtype=TORCH_TYPES[precision])
    gradients = torch.autograd.grad(found, ours)
    assert abs(found.item() - loss.item()) < {"fp32": 1e-5, "bf16": 3e-2, "fp16": 4e-3}[precision]
    for actual, reference in zip(gradients, expected, strict=True):
        assert relative_error(actual, reference) < ERRORS[precision]
    with torch.no_grad():
        again = linear_cross_entropy(*ours, targets.cuda(), dtype=TORCH_TYPES[precision])
    torch.testing.assert_close(again, found.detach())


def make_step(config: RunConfig, device: str, dtype: torch.dtype = torch.float32) -> Step:
    torch.manual_seed(0)
    model = GPT(config.model, config.width_ratio).to(device, dtype).train()
    model.draw_dropout_from(torch.Generator(device).manual_seed(1))
    return Step(model, config.train, device)


def take(one_step: Step, sizes: list[int], lr: float = 1e-3) -> None:
    generator = torch.Generator().manual_seed(2)
    for size in sizes:
        tokens = torch.randint(60, (size, 8), generator=generator)
        one_step(tokens, tokens.flip(0), lr)


def stream(one_step: Step) -> Tensor:
    generator = one_step.model.dropout.generators[0]
    assert generator is not None
    return generator.get_state()


def compared(model: GPT) -> list[Tensor]:
    """The weights, but for the keys' biases: their true gradient is 0, since the same number is
    added to all of a query's logits, and AdamW makes steps of full size of whatever noise."""
    weights = []
    for name, parameter in model.named_parameters():
        weight = parameter.detach().clone()
        if name.endswith("qkv.bias"):
            weight.view(3, -1)[1] = 0  # queries, keys, values
        weights.append(weight)
    return weights


SIZES = [8, 8, 8, 8, 3, 8, 8]


def test_steps_against_float64(tiny: RunConfig) -> None:
    config = tiny.replace(dropout=0.0)
    reference, ours = make_step(config, "cpu", torch.float64), make_step(config, "cuda")
    take(reference, SIZES)
    take(ours, SIZES)
    for actual, expected in zip(compared(ours.model), compared(reference.model), strict=True):
        assert relative_error(actual, expected) < 1e-3
    sums, expected_sums = ours.sums.read(), reference.sums.read()
    assert sums.loss == pytest.approx(expected_sums.loss, rel=1e-5)
    assert sums.grad_norm == pytest.approx(expected_sums.grad_norm, rel=1e-4)
    assert (sums.sequences, sums.steps_before_divergence) == (sum(SIZES), len(SIZES))


def text_like(n: int, v: int) -> Tensor:
    """Tokens (n,) on the GPU of which a few are most."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(n, generator=generator) ** 4 * v).long().cuda()


@pytest.mark.parametrize("n", [2048, 10_000])
def test_the_embedding_s_gradient_is_the_same_a_thousand_times(kernel: str, n: int) -> None:
    """Above 1,024 tokens torch's own is not, rarely."""
    v, d = 50_257, 128
    tokens, rows = text_like(n, v), torch.randn(n, d, device="cuda")
    head = torch.randn(v, d, device="cuda")
    expected = head.double().cpu().index_add_(0, tokens.cpu(), rows.double().cpu())
    first = embedding.add_rows(head.clone(), tokens, rows)
    assert relative_error(first, expected) < 1e-6
    differs = torch.zeros((), dtype=torch.bool, device="cuda")
    for _ in range(1000):
        differs |= (embedding.add_rows(head.clone(), tokens, rows) != first).any()
    assert not differs.item()


def test_steps_of_2048_tokens_are_the_same_each_time(kernel: str, tiny: RunConfig) -> None:
    config = tiny.replace(batch_size=256, precision="bf16")
    runs = [make_step(config, "cuda") for _ in range(3)]
    runs[-1].compute = runs[-1]._compute  # launched kernel by kernel
    for one_step in runs:
        take(one_step, [256] * 30)
    for other in runs[1:]:
        for a, b in zip(runs[0].model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_replays_are_the_launched_steps_to_the_bit(tiny: RunConfig, precision: str) -> None:
    config = tiny.replace(precision=precision)
    replayed, launched = make_step(config, "cuda"), make_step(config, "cuda")
    launched.compute = launched._compute
    for one_step in (replayed, launched):
        take(one_step, SIZES)
    assert isinstance(replayed.compute, StepGraph)
    assert replayed.compute.replay is not None
    for a, b in zip(replayed.model.parameters(), launched.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert replayed.sums.read() == launched.sums.read()
    assert torch.equal(stream(replayed), stream(launched))


def test_each_replay_draws_other_dropout_and_reads_its_learning_rate(tiny: RunConfig) -> None:
    one_step = make_step(tiny.replace(weight_decay=0.0), "cuda")
    take(one_step, [8] * 3)
    tokens, losses, states = torch.arange(64).view(8, 8) % 60, [], []
    weights = copy.deepcopy(list(one_step.model.parameters()))
    for _ in range(4):
        one_step.sums.begin_epoch()
        one_step(tokens, tokens, 0.0)
        losses.append(one_step.sums.read().loss)
        states.append(stream(one_step).tolist())
    assert len(set(losses)) == len({tuple(state) for state in states}) == 4
    for a, b in zip(one_step.model.parameters(), weights, strict=True):
        assert torch.equal(a, b)  # a learning rate of 0 changes nothing, so the rate was read
    one_step(tokens, tokens, 1e-2)
    assert not torch.equal(one_step.model.head.weight, weights[0])


def test_a_loss_that_is_not_finite_is_counted_under_replay(tiny: RunConfig) -> None:
    one_step = make_step(tiny, "cuda")
    take(one_step, [8] * 4)
    with torch.no_grad():
        one_step.model.norm.weight.fill_(torch.nan)
    take(one_step, [8] * 2)
    assert one_step.sums.read().steps_before_divergence == 4


def test_the_split_on_the_device(corpus: Corpus) -> None:
    dataset = corpus.dataset("train", 8)
    source = batch_source(dataset, "cuda")
    assert isinstance(source, ResidentBatches)
    order = torch.randperm(len(dataset))
    for indices in source.prepare_indices(order).split(4):
        for ours, theirs in zip(source.batch(indices), dataset.batch(indices.cpu()), strict=True):
            assert torch.equal(ours.cpu(), theirs)


class Stop(Exception):
    """A kill at a chosen step."""


def run(config: RunConfig, corpus: Corpus, folder: Path, stop_at: int = 10**9) -> TrainResult:
    def on_progress(progress: Progress) -> None:
        if progress.step >= stop_at:
            raise Stop

    hooks = Hooks(on_progress=on_progress)
    return train(
        config,
        corpus,
        device="cuda:0",
        checkpoint_dir=folder,
        checkpoint_every_seconds=0,
        hooks=hooks,
    )


def final_weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "final.pt", weights_only=True)["model"]


@pytest.mark.parametrize("stops", [[1], [4], [9, 12]])
def test_a_resumed_run_ends_with_the_same_bits(
    tiny: RunConfig, corpus: Corpus, tmp_path: Path, stops: list[int]
) -> None:
    whole = run(tiny, corpus, tmp_path / "whole")
    for stop_at in stops:
        with pytest.raises(Stop):
            run(tiny, corpus, tmp_path / "parts", stop_at)
    parts = run(tiny, corpus, tmp_path / "parts")
    assert [e.val_loss_nats for e in parts.epochs] == [e.val_loss_nats for e in whole.epochs]
    expected = final_weights(tmp_path / "whole")
    for name, weight in final_weights(tmp_path / "parts").items():
        assert torch.equal(weight, expected[name]), name


@pytest.mark.parametrize("devices", [("cpu", "cuda"), ("cuda", "cpu")])
@pytest.mark.parametrize("parametrization", ["standard", "mup"])
def test_a_checkpoint_goes_on_on_the_other_device(
    tiny: RunConfig, devices: tuple[str, str], parametrization: str
) -> None:
    """Weights and optimizer; a random stream is of its kind of device."""
    config = tiny.replace(dropout=0.0, parametrization=parametrization, mup_base_dim=4)
    first, second = (make_step(config, device) for device in devices)
    take(first, [8] * 4)
    second.model.load_state_dict(first.model.state_dict())
    second.load_optimizer(copy.deepcopy(first.optimizer.state_dict()))
    for one_step in (first, second):
        take(one_step, [8] * 4)
    for a, b in zip(compared(first.model), compared(second.model), strict=True):
        assert relative_error(a, b.double().cpu()) < 1e-3


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-4), ("bf16", 3e-2)])
def test_compiled_blocks(tiny: RunConfig, precision: str, error: float) -> None:
    require_triton()
    config = tiny.replace(precision=precision, embed_dim=64, n_layers=2)
    steps = [make_step(config, "cuda") for _ in range(2)]
    assert compile_blocks(steps[0].model, config)
    tokens = torch.arange(64).view(8, 8).cuda() % 60
    gradients = []
    for one_step in steps:
        loss = one_step.model.loss(tokens, tokens, TORCH_TYPES[precision])
        gradients.append(torch.autograd.grad(loss, tuple(one_step.model.parameters())))
    assert torch.equal(stream(steps[0]), stream(steps[1]))
    for ours, theirs in zip(*gradients, strict=True):
        assert relative_error(ours, theirs.double().cpu()) < error
    take(steps[0], SIZES)  # and they can be captured
    assert steps[0].sums.read().steps_before_divergence == len(SIZES)


def test_a_step_that_waits_for_the_gpu_is_launched_instead() -> None:
    """In a process of its own: some versions of torch go on as if the capture were under way."""
    script = Path(__file__).with_name("failed_capture.py")
    subprocess.run([sys.executable, "-W", "ignore", str(script)], check=True, timeout=120)
