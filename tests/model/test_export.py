"""An exported folder, loaded by `transformers` as a user would, without a network."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.tokenizers.gpt2 import SEPARATOR_TOKEN, get_encoding
from minigpt_search.model.export import export, main
from minigpt_search.model.training.checkpoint import load_model

MakeCheckpoint = Callable[..., Path]
REPOSITORY = Path(__file__).resolve().parents[2]
TEXTS = ["The president said", "  two  spaces\n\n and tabs\t", "naïve 🐝 1,234.5", ""]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def checkpoint(request: pytest.FixtureRequest, make_checkpoint: MakeCheckpoint) -> Path:
    return make_checkpoint(embed_dim=16, seq_len=32, tie_head=request.param)


@pytest.mark.usefixtures("no_network")
def test_from_pretrained_gives_the_same_logits_and_tokens(
    checkpoint: Path, shared_home: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, GPT2LMHeadModel  # two seconds

    export(checkpoint, tmp_path / "exported", shared_home)
    loader: Any = GPT2LMHeadModel
    theirs, report = loader.from_pretrained(tmp_path / "exported", output_loading_info=True)
    assert not any(report.values()), report
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "exported")
    encoding = get_encoding(shared_home)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids == encoding.encode_ordinary(text)
        assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == SEPARATOR_TOKEN
    assert tokenizer.model_max_length == 32
    model, _, _ = load_model(checkpoint)
    assert theirs.num_parameters() == sum(parameter.numel() for parameter in model.parameters())
    tokens = torch.tensor([tokenizer("The president said that")["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(
            model.logits(tokens), theirs.eval()(tokens).logits, atol=1e-5, rtol=1e-5
        )


def test_the_command_exports_and_refuses_a_folder_with_content(
    make_checkpoint: MakeCheckpoint,
    shared_home: Path,
    tmp_path: Path,
    run_here: Callable[..., Any],
) -> None:
    folder = tmp_path / "new" / "exported"
    words = (str(make_checkpoint(embed_dim=8)), str(folder), "--out", str(shared_home))
    done = run_here("model/export.py", *words)
    assert (done.status, done.err) == (0, "")
    assert "README.md has neither losses nor the text's licences" in done.out
    assert f'from_pretrained("{folder}")' in done.out
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.json",
    ]
    with pytest.raises(UserError, match="exists and is not empty"):
        export(make_checkpoint(embed_dim=8), folder, shared_home)


def test_an_experiments_name_is_no_folder_for_the_newest_model(
    tmp_path: Path, run_here: Callable[..., Any]
) -> None:
    (tmp_path / "experiments" / "lr-quick").mkdir(parents=True)
    done = run_here("model/export.py", "lr-quick", "--out", str(tmp_path))
    done.refused("lr-quick: is an experiment")


def test_a_folder_that_can_t_be_made_is_one_line(
    make_checkpoint: MakeCheckpoint,
    shared_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    arguments = [str(make_checkpoint(embed_dim=8)), str(tmp_path / "file" / "exported")]
    monkeypatch.setattr(sys, "argv", ["export.py", *arguments, "--out", str(shared_home)])
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {arguments[1]}: cannot be written")


def test_an_export_that_fails_leaves_nothing(
    make_checkpoint: MakeCheckpoint,
    shared_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("minigpt_search.model.export.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        export(make_checkpoint(embed_dim=8), tmp_path / "exported", shared_home)
    assert list(tmp_path.iterdir()) == []
