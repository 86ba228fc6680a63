"""Sample text from a checkpoint.

    python model/generate.py "The president said"               # from the newest rerun's model
    python model/generate.py artifacts/experiments/NAME/rerun/TRIAL/final.pt "The president said"
    python model/generate.py "Once" --tokens 20 --temperature 0          # greedy, in a second

A lone word is the checkpoint if it is a file, or ends in `.pt`, or is the path of something that is
there; else it is the prompt.

Source of nucleus sampling (--top-p): Holtzman et al. 2020 (arXiv 1904.09751).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")

from minigpt_search.data.common.invocation import parse_first
from minigpt_search.model.parsers import generate_parser

if __name__ == "__main__":  # --help needs nothing of what is imported below
    parse_first(generate_parser().parse_intermixed_args)

import torch
from torch import Tensor

from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.common.machine import usable_cores
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.tokenizers.base import Tokenizer
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.newest_model import newest_model
from minigpt_search.model.training.checkpoint import load_model, tokenizer_of

FLOPS_PER_THREAD = 2e10
"""What a token must take for each thread. Beside other work a second thread waits for its turn at
each layer: a token of width 128 and context 64 took 29 ms on one thread and 239 on two, one of
width 512 and context 256 264 and 1,324, where its work is 0.1 s (two cores of an AMD EPYC under a
load of 6, 2026-11-29). So only tokens that take a second or so get another."""


def sample_token(
    logits: Tensor,
    *,
    temperature: float,
    top_k: int | None,
    top_p: float,
    generator: torch.Generator,
) -> int:
    """One token id drawn from `logits` (V,).

    `temperature` divides the logits; 0 takes the likeliest token. `top_k` keeps the k likeliest;
    `top_p` keeps the smallest set of likeliest tokens that reaches this probability. Both may be
    given; top_k is first.
    """
    if temperature == 0:
        return int(logits.argmax())
    # With the largest at 0 and in fp64, so that no temperature, however small, makes it infinite.
    logits, ids = ((logits - logits.max()).double() / temperature).sort(descending=True)
    if top_k is not None:
        logits, ids = logits[:top_k], ids[:top_k]
    probabilities = logits.softmax(dim=0)
    # A token stays while those before it have not reached top_p: the first always stays.
    before = probabilities.cumsum(dim=0) - probabilities
    probabilities = torch.where(before < top_p, probabilities, 0.0)
    return int(ids[torch.multinomial(probabilities, 1, generator=generator)])


@torch.no_grad()
def generate(
    model: GPT,
    prompt: list[int],
    *,
    separator: int,
    tokens: int,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float = 0.95,
    seed: int = 0,
) -> list[int]:
    """`prompt` and up to `tokens` token ids after it, ending early at `separator`, which stands
    after each document.

    The model sees the last `seq_len` tokens. An empty prompt begins a new document. `temperature`,
    `top_k` and `top_p` are as for `sample_token`; the same seed draws the same tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = list(prompt) or [separator]
    model.eval()
    for _ in range(tokens):
        window = torch.tensor([ids[-model.config.seq_len :]])  # (1, T)
        logits = model.head(model(window)[0, -1])  # (V,)
        token = sample_token(
            logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator
        )
        if token == separator:
            break
        ids.append(token)
    return ids


def sample_text(
    model: GPT, tokenizer: Tokenizer, prompt: str, **options: float | int | None
) -> str:
    """`prompt` and the text that follows it; `options` are as for `generate`. What the tokens'
    bytes are no text of is the replacement character. It takes the threads that help."""
    # A command line's bytes that are no text come as halves of surrogate pairs.
    prompt = prompt.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    with _threads(threads_that_help(model)):
        ids = generate(
            model,
            tokenizer.encode(prompt).tolist(),
            separator=tokenizer.separator_token,
            **options,  # type: ignore[arg-type]
        )
    return tokenizer.decode_bytes(ids).decode(errors="replace")


def threads_that_help(model: GPT) -> int:
    """How many threads a token's work is worth, of those that there are cores for."""
    inner = sum(p.numel() for block in model.blocks for p in block.parameters())
    flops = 2 * (inner * model.config.seq_len + model.head.weight.numel())
    return max(1, min(usable_cores(), int(flops / FLOPS_PER_THREAD)))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _model_and_prompt(first: str, second: str | None, root: Path) -> tuple[Path, str]:
    """The checkpoint and the prompt of a command line, where the first word may be either."""
    is_path = os.path.isfile(first) or (os.sep in first and os.path.exists(first))
    if second is not None or first.endswith(".pt") or is_path:
        return Path(first), second or ""
    model = newest_model(root)
    print(f"Model      {model}", file=sys.stderr)
    return model, first


def main(argv: Sequence[str] | None = None) -> int:
    """Sample as the command line says, and print prompt and text. Returns the exit status."""
    args = generate_parser().parse_intermixed_args(argv)
    for flag, ok, right in (
        ("tokens", args.tokens >= 1, "1 or more"),
        ("temperature", 0 <= args.temperature < float("inf"), "0 or more"),
        ("top_k", args.top_k is None or args.top_k >= 1, "1 or more"),
        ("top_p", 0 < args.top_p <= 1, "a number above 0, at most 1"),
        ("seed", 0 <= args.seed < 2**63, "0 or more"),
    ):
        if not ok:
            name = flag.replace("_", "-")
            raise UserError(f"--{name} {getattr(args, flag)}: give {right}")
    root = artifacts_root(args.out)
    checkpoint, prompt = _model_and_prompt(args.checkpoint, args.prompt, root)
    model, _, content = load_model(checkpoint)
    print(
        sample_text(
            model,
            tokenizer_of(content, checkpoint, root),
            prompt,
            tokens=args.tokens,
            temperature=args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            seed=args.seed,
        )
    )
    return 0


if __name__ == "__main__":
    run_command(main)
