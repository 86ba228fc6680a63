"""The card of an export: its front matter, its snippet, and who can read the files."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.export import export
from minigpt_search.model.model_card import (
    FACTS_FILE,
    ModelFacts,
    SplitLoss,
    TextSource,
    hub_licence,
    model_card,
    read_facts,
    write_facts,
)

SOURCE = TextSource(
    title="WikiText-2 (raw, train)",
    licence="CC BY-SA 3.0",
    attribution="Wikipedia contributors",
    url="https://arxiv.org/abs/1609.07843",
    tokens=2_000,
    is_builtin=True,
)
FACTS = ModelFacts(
    experiment="lr",
    label="lr=0.001",
    trials=4,
    corpus="builtin",
    corpus_hash="0123456789",
    sources=(SOURCE,),
    validation=SplitLoss(nats=7.25, perplexity=1408.1, bits_per_byte=2.3),
    test=SplitLoss(
        nats=7.3, perplexity=1480.3, bits_per_byte=2.4, low=7.1, high=7.5, documents=150
    ),
    test_evaluations=3,
    prompt="The president",
    sample="The president said\n---\nso.",
)


def front_matter(card: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_the_card_has_losses_licences_and_the_recipe() -> None:
    card = model_card(RunConfig(), 6_837_888, FACTS)
    assert front_matter(card) == {
        "license": "cc-by-sa-3.0",
        "language": "en",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["gpt2", "minigpt-search"],
    }
    assert "| validation | 7.2500 | not known | 1,408.1 | 2.300 |" in card
    assert "| test | 7.3000 | 7.10 to 7.50, by 150 documents | 1,480.3 | 2.400 |" in card
    assert "test is looked at after the search: 3 times up to here." in card
    assert "[WikiText-2 (raw, train)](https://arxiv.org/abs/1609.07843) | 2,000 |" in card
    assert "| `lr_peak` | " in card and "    The president said\n    ---\n    so." in card


def test_several_licences_or_none_are_said_as_such() -> None:
    other = dataclasses.replace(SOURCE, licence="CC BY-SA 4.0")
    own = dataclasses.replace(
        SOURCE, licence="as the user's own terms say", is_builtin=False, url=""
    )
    for sources in ([SOURCE, other], [own], [own, other]):
        assert hub_licence(sources) == "other"
    assert hub_licence([]) == "unknown"
    matter = front_matter(model_card(RunConfig(), 1, dataclasses.replace(FACTS, sources=(own,))))
    assert matter["license_name"] == "of-the-training-text" and "language" not in matter
    assert front_matter(model_card(RunConfig(), 1, None))["license"] == "unknown"


def test_names_are_text_and_a_data_set_of_the_hub_is_named() -> None:
    hostile = TextSource(
        title='a | b\n---\n<script>"x"',
        licence="[x](javascript:1)",
        attribution="*",
        url="https://huggingface.co/datasets/owner/name",
        tokens=1,
        is_builtin=False,
    )
    facts = dataclasses.replace(FACTS, label="*lr*", sources=(hostile,))
    card = model_card(RunConfig(), 1, facts)
    assert front_matter(card)["datasets"] == ["owner/name"]
    assert "a \\| b --- \\<script\\>" in card and "\\[x\\](javascript" in card


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_facts(FACTS, tmp_path)
    assert read_facts(tmp_path / "final.pt") == FACTS
    text = (tmp_path / FACTS_FILE).read_text()
    (tmp_path / FACTS_FILE).write_text(text.replace("7.25", "7.24"))
    with pytest.raises(UserError, match="can't be read: its checksum"):
        read_facts(tmp_path / "final.pt")


def test_the_snippet_runs_and_everyone_can_read_the_files(
    make_checkpoint: Callable[..., Path],
    shared_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = make_checkpoint(embed_dim=8, seq_len=16)
    write_facts(FACTS, checkpoint.parent)
    before = os.umask(0o077)
    try:
        export(checkpoint, tmp_path / "exported", shared_home)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "exported").iterdir()}
    assert set(modes.values()) == {0o644} and "README.md" in modes
    assert (tmp_path / "exported").stat().st_mode & 0o777 == 0o755
    card = (tmp_path / "exported" / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert snippet is not None
    monkeypatch.chdir(tmp_path / "exported")
    exec(snippet[1], {})
    assert capsys.readouterr().out.startswith("The president of the")


def test_the_hub_accepts_the_front_matter(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "README.md").write_text(model_card(RunConfig(), 6_837_888, FACTS))
    data = hub.ModelCard.load(tmp_path / "README.md").data
    assert data.license == "cc-by-sa-3.0" and data.pipeline_tag == "text-generation"
    assert data.library_name == "transformers" and data.language == "en"
