"""The model card of an export: README.md, with the front matter that the Hugging Face hub reads.

A rerun leaves what the card says of losses and corpus beside its model, in `model_facts.json`.
Source of the front matter: the hub's documentation of model cards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.common.formatting import counted, perplexity, times
from minigpt_search.model.config import RunConfig

FACTS_FILE = "model_facts.json"
_HUB_LICENCES = {
    "CC BY-SA 3.0": "cc-by-sa-3.0",
    "CC BY-SA 4.0": "cc-by-sa-4.0",
    "public domain (US government, 17 U.S.C. 105)": "cc0-1.0",
}
"""The hub's names of licences, where a source's own has one: for a model of this text alone."""
_PROMPT, _NEW_TOKENS = "The president of the", 40


@dataclass(frozen=True, kw_only=True)
class SplitLoss:
    """A split's loss, and how far it holds for other text of its kind."""

    nats: float
    perplexity: float
    bits_per_byte: float
    low: float | None = None
    """The ends of its 95% interval over documents, in nats; None where they are not known."""
    high: float | None = None
    documents: int | None = None


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """A body of the training text."""

    title: str
    licence: str
    attribution: str
    url: str
    tokens: int
    is_builtin: bool


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a rerun knows of its model."""

    experiment: str
    label: str
    """The trial as the screen calls it: `lr=0.001`."""
    trials: int
    """How many its search had to choose from."""
    corpus: str
    corpus_hash: str
    sources: tuple[TextSource, ...]
    validation: SplitLoss
    test: SplitLoss
    test_evaluations: int
    """How often a model had been scored on this test split by then, this one included."""
    prompt: str
    sample: str
    """The prompt and what the model wrote after it."""


def write_facts(facts: ModelFacts, folder: Path) -> None:
    """Write them beside the model in `folder`, whole or not at all."""
    with atomic_file(folder / FACTS_FILE) as file:
        file.write((json.dumps(checked_json.seal(asdict(facts)), indent=1) + "\n").encode())


def read_facts(checkpoint: Path) -> ModelFacts | None:
    """The facts beside a checkpoint; None if there are none: of a rerun before there was a card, or
    of a search's own weights. Raises `UserError` if they are damaged."""
    path = checkpoint.parent / FACTS_FILE
    try:
        raw = checked_json.unseal(checked_json.loads(path.read_bytes()))
        return checked_json.build(ModelFacts, raw)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from None


def model_card(config: RunConfig, parameters: int, facts: ModelFacts | None) -> str:
    """The content of README.md; without facts it says what isn't known."""
    parts = [
        _front_matter(facts),
        _about(config, parameters, facts),
        _losses(facts),
        _how_to_load(config),
        _recipe(config),
        _text(facts),
        _sample(facts),
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(facts: ModelFacts | None) -> str:
    sources = facts.sources if facts else ()
    licence = hub_licence(sources)
    lines = ["---", f"license: {licence}"]
    if licence == "other":
        lines += ["license_name: of-the-training-text", "license_link: README.md"]
    if sources and all(source.is_builtin for source in sources):
        lines.append("language: en")
    hub = "https://huggingface.co/datasets/"
    datasets = [s.url.removeprefix(hub) for s in sources if s.url.startswith(hub)]
    if datasets:
        lines += ["datasets:", *(f"- {json.dumps(name)}" for name in datasets)]
    lines += ["library_name: transformers", "pipeline_tag: text-generation"]
    lines += ["tags:", "- gpt2", "- minigpt-search", "---", ""]
    return "\n".join(lines)


def hub_licence(sources: Sequence[TextSource]) -> str:
    """The hub's name of the licence that all sources have; `other` where they have several, or one
    that the hub has no name for; `unknown` where no source is known."""
    names = {_HUB_LICENCES.get(source.licence, "other") for source in sources}
    return names.pop() if len(names) == 1 else "other" if names else "unknown"


def _about(config: RunConfig, parameters: int, facts: ModelFacts | None) -> str:
    model = config.model
    text = (
        f"# A GPT of {parameters:,} parameters\n\n"
        f"{model.n_layers} blocks, {model.n_heads} heads, width {model.embed_dim}, a context of "
        f"{model.seq_len} tokens, {model.vocab_size:,} entries in the vocabulary; GPT-2's layout. "
    )
    if facts is not None:
        text += (
            f"It is the setting {_plain(facts.label)} of the {counted(facts.trials, 'trial')} of "
            f"the search {_plain(facts.experiment)}, trained again from its seed by "
            "minigpt-search. "
        )
    return f"{text}It is small, to study training with; it knows little and says what isn't so.\n"


def _losses(facts: ModelFacts | None) -> str:
    if facts is None:
        return (
            "Its losses and its training text are not known here: `minigpt-search rerun` leaves "
            "them beside the model that it keeps.\n"
        )
    rows = [
        f"| {name} | {loss.nats:.4f} | {_interval(loss)} | {perplexity(loss.perplexity)} | "
        f"{loss.bits_per_byte:.3f} |"
        for name, loss in (("validation", facts.validation), ("test", facts.test))
    ]
    return "\n".join(
        [
            "## Losses\n",
            "| Split | Nats a token | 95%, on other text of the kind | Perplexity | Bits a byte |",
            "| --- | ---: | --- | ---: | ---: |",
            *rows,
            "",
            "The setting was chosen by validation, so that number flatters it; test is looked at "
            f"after the search: {times(facts.test_evaluations)} up to here.\n",
        ]
    )


def _interval(loss: SplitLoss) -> str:
    if loss.low is None or loss.high is None:
        return "not known"
    return f"{loss.low:.2f} to {loss.high:.2f}, by {loss.documents} documents"


def _how_to_load(config: RunConfig) -> str:
    tokens = max(1, min(_NEW_TOKENS, config.model.seq_len // 2))
    return f"""\
## How to load it

```python
from transformers import AutoTokenizer, GPT2LMHeadModel

folder = "."  # this folder, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = GPT2LMHeadModel.from_pretrained(folder)
prompt = tokenizer("{_PROMPT}", return_tensors="pt")
end = tokenizer.eos_token_id
ids = model.generate(**prompt, max_new_tokens={tokens}, do_sample=True, pad_token_id=end)
print(tokenizer.decode(ids[0]))
```

Prompt and text together are at most {config.model.seq_len} tokens.
"""


def _recipe(config: RunConfig) -> str:
    model, train = config.to_dict()["model"], config.to_dict()["train"]
    given = {key: value for key, value in {**model, **train}.items() if value is not None}
    rows = [f"| `{key}` | {value} |" for key, value in given.items()]
    return "\n".join(["## Recipe\n", "| Field | Value |", "| --- | --- |", *rows, ""])


def _text(facts: ModelFacts | None) -> str:
    if facts is None:
        return ""
    rows = [
        f"| {_link(source)} | {source.tokens:,} | {_plain(source.licence)} | "
        f"{_plain(source.attribution)} |"
        for source in facts.sources
    ]
    return "\n".join(
        [
            "## Training text\n",
            f"The corpus {_plain(facts.corpus)} (content hash {facts.corpus_hash[:8]}). The "
            "licences are those of the texts; whoever passes the model on decides what they ask "
            "of it.\n",
            "| Source | Tokens | Licence | Attribution |",
            "| --- | ---: | --- | --- |",
            *rows,
            "",
        ]
    )


def _sample(facts: ModelFacts | None) -> str:
    if facts is None:
        return ""
    quoted = "\n".join(f"    {line}" for line in facts.sample.splitlines())
    return f"## A sample\n\nAfter “{_plain(facts.prompt)}”:\n\n{quoted}\n"


def _link(source: TextSource) -> str:
    is_url = source.url.startswith("https://") and not set(source.url) & set(" <>()|\n")
    return f"[{_plain(source.title)}]({source.url})" if is_url else _plain(source.title)


def _plain(text: str) -> str:
    """A name or value as text in a line or a table of Markdown, whatever is in it."""
    line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in line)
