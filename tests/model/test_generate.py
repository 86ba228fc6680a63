"""Sampling: which tokens may be drawn, how often, and where it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minigpt_search.data.common.errors import run_command
from minigpt_search.data.tokenizers.gpt2 import GPT2Tokenizer
from minigpt_search.model.config import ModelConfig
from minigpt_search.model.generate import (
    generate,
    main,
    sample_text,
    sample_token,
    threads_that_help,
)
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.checkpoint import load_model

MakeCheckpoint = Callable[..., Path]
REPOSITORY = Path(__file__).resolve().parents[2]
NEVER = 60
"""No token of these models."""
LOGITS = torch.tensor([1.0, 3.0, 2.0, 0.0, 2.5])
CHI_SQUARE_LIMIT = {1: 10.8, 2: 13.8, 4: 18.5}
"""Of so many degrees of freedom; a fair draw is above it once in a thousand."""


def draw(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    seed: int = 0,
    times: int = 1,
) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [
        sample_token(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        for _ in range(times)
    ]


@pytest.fixture
def model() -> GPT:
    """Large weights, so that its distributions are far from even."""
    torch.manual_seed(0)
    model = GPT(ModelConfig(vocab_size=60, seq_len=6, embed_dim=16, n_heads=2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20, unique=True),
    seed=st.integers(0, 9),
)
def test_greedy_temperature_top_k_one_and_a_tiny_top_p_take_the_likeliest(
    logits: list[float], seed: int
) -> None:
    values = torch.tensor(logits)
    best = [logits.index(max(logits))]
    assert draw(values, temperature=0, seed=seed) == best
    assert draw(values, top_k=1, seed=seed) == best
    assert draw(values, top_p=1e-9, seed=seed) == best


@pytest.mark.parametrize("temperature", [1e-3, 1e-40, 5e-324])
def test_a_tiny_temperature_is_greedy_and_no_error(temperature: float) -> None:
    assert draw(LOGITS, temperature=temperature, times=20) == [1] * 20


def expected(keep: list[int], temperature: float) -> dict[int, float]:
    """Softmax of the kept tokens' logits, written out."""
    weights = {k: torch.exp(LOGITS[k] / temperature).item() for k in keep}
    return {k: weight / sum(weights.values()) for k, weight in weights.items()}


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"temperature": 0.6}, [0, 1, 2, 3, 4]),
        ({"temperature": 5.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 3}, [1, 2, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        # Probabilities in order: 0.475 (token 1), 0.288 (4), 0.175 (2), 0.064 (0), 0.024 (3)
        ({"top_p": 0.7}, [1, 4]),
        ({"top_p": 0.8}, [1, 2, 4]),
        # Of the two that top_k keeps, token 1 has 0.62
        ({"top_k": 2, "top_p": 0.65}, [1, 4]),
    ],
)
def test_frequencies_follow_the_softmax_of_what_is_kept(
    options: dict[str, float], keep: list[int]
) -> None:
    times = 3000
    drawn = draw(LOGITS, times=times, **options)  # type: ignore[arg-type]
    shares = expected(keep, options.get("temperature", 1.0))
    assert set(drawn) <= set(keep)
    chi_square = sum(
        (drawn.count(token) - times * share) ** 2 / (times * share)
        for token, share in shares.items()
    )
    assert chi_square < CHI_SQUARE_LIMIT[len(keep) - 1]


def test_greedy_text_is_the_argmax_of_the_last_context(model: GPT) -> None:
    prompt = list(range(20))  # longer than the context of 6
    ids = generate(model, prompt, separator=NEVER, tokens=10, temperature=0)
    expected = list(prompt)
    with torch.no_grad():
        for _ in range(10):
            expected.append(int(model.logits(torch.tensor([expected[-6:]]))[0, -1].argmax()))
    assert ids == expected


def test_the_seed_decides_the_text(model: GPT) -> None:
    texts = [
        generate(model, [1], separator=NEVER, tokens=30, temperature=2.0, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 31


def test_global_random_state_plays_no_part_and_is_left_alone(model: GPT) -> None:
    torch.manual_seed(1)
    first = generate(model, [1], separator=NEVER, tokens=10, temperature=2.0)
    state = torch.get_rng_state()
    assert generate(model, [1], separator=NEVER, tokens=10, temperature=2.0) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_it_ends_at_the_separator_which_is_not_part_of_the_text(model: GPT) -> None:
    whole = generate(model, [1], separator=NEVER, tokens=30, temperature=0)
    separator = whole[4]
    ended = generate(model, [1], separator=separator, tokens=30, temperature=0)
    assert ended == whole[: whole.index(separator, 1)]


def test_an_empty_prompt_begins_a_new_document(
    make_checkpoint: MakeCheckpoint, shared_home: Path
) -> None:
    model, _, _ = load_model(make_checkpoint(embed_dim=8))
    gpt2 = GPT2Tokenizer(shared_home)
    assert sample_text(model, gpt2, "", tokens=5)
    assert sample_text(model, gpt2, "The river", tokens=5).startswith("The river")


def test_the_command_prints_the_prompt_and_what_follows(
    make_checkpoint: MakeCheckpoint, shared_home: Path
) -> None:
    command = [sys.executable, "model/generate.py", str(make_checkpoint(embed_dim=8))]
    command += ["--tokens", "5", "--seed", "3", "The president said", "--out", str(shared_home)]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The president said")


@pytest.mark.parametrize(
    ("width", "context", "threads"), [(128, 64, 1), (512, 256, 1), (768, 1024, 4)]
)
def test_only_large_models_get_more_than_one_thread(
    width: int, context: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minigpt_search.model.generate.usable_cores", lambda: 64)
    config = ModelConfig(vocab_size=50257, seq_len=context, embed_dim=width, n_layers=6, n_heads=8)
    with torch.device("meta"):
        assert threads_that_help(GPT(config)) == threads
    monkeypatch.setattr("minigpt_search.model.generate.usable_cores", lambda: 2)
    with torch.device("meta"):
        assert threads_that_help(GPT(config)) == min(2, threads)


def test_the_text_is_that_of_one_thread_and_the_threads_are_as_before(
    make_checkpoint: MakeCheckpoint, shared_home: Path
) -> None:
    model, _, _ = load_model(make_checkpoint(embed_dim=8))
    gpt2 = GPT2Tokenizer(shared_home)
    ids = generate(model, gpt2.encode("The").tolist(), separator=gpt2.separator_token, tokens=20)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        text = sample_text(model, gpt2, "The", tokens=20)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert text == gpt2.decode_bytes(ids).decode(errors="replace")


@pytest.mark.parametrize(
    ("words", "prompt"), [(["The river"], "The river"), ([], ""), (["data"], "data")]
)
def test_without_a_checkpoint_it_is_the_model_that_was_kept_last(
    make_checkpoint: MakeCheckpoint,
    root: Path,
    run_here: Callable[..., Any],
    words: list[str],
    prompt: str,
) -> None:
    kept = [root / "experiments" / name / "rerun" / "t" / "final.pt" for name in ("b", "a")]
    for seconds, path in enumerate(kept):
        path.parent.mkdir(parents=True)
        shutil.copy(make_checkpoint(embed_dim=8), path)
        os.utime(path, (seconds, seconds))
    flags = ["--tokens", "3", "--out", str(root)]
    done = run_here("model/generate.py", *words, *flags)
    assert done.status == 0 and done.err == f"Model      {kept[1]}\n"
    named = run_here("model/generate.py", str(kept[1]), prompt, *flags)
    assert (named.status, named.err, named.out) == (0, "", done.out)
    assert done.out.startswith(prompt)
    exported = run_here("model/export.py", str(root / "exported"), "--out", str(root))
    assert exported.status == 0 and exported.err == f"Model      {kept[1]}\n"


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["generate.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--tokens", "0"),
        ("--temperature", "-0.1"),
        ("--temperature", "nan"),
        ("--temperature", "inf"),
        ("--top-k", "0"),
        ("--top-p", "0"),
        ("--top-p", "1.01"),
        ("--seed", "-1"),
        ("--seed", str(2**63)),
    ],
)
def test_a_bad_value_is_one_line_and_status_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    assert run_main(monkeypatch, "nowhere.pt", "x", f"{flag}={value}") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {flag} {value}")
    assert printed.err.count("\n") == 1


def test_a_missing_or_damaged_checkpoint_is_one_line_and_status_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"")
    for path in (tmp_path / "nowhere.pt", damaged):
        assert run_main(monkeypatch, str(path), "x") == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"error: {path}")
        assert printed.count("\n") == 1


def test_help_has_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "--help") == 0
    assert "example: python model/generate.py" in " ".join(capsys.readouterr().out.split())
