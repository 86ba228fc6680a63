"""Write a checkpoint as a folder that `transformers` loads offline: model, tokenizer, model card.

    python model/export.py exported                             # the newest rerun's model
    python model/export.py artifacts/experiments/NAME/rerun/TRIAL/final.pt exported

    GPT2LMHeadModel.from_pretrained("exported"); AutoTokenizer.from_pretrained("exported")

Source of the names and layout: `transformers`' GPT-2 (Conv1D keeps its weights transposed).
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")

from minigpt_search.data.common.invocation import parse_first
from minigpt_search.model.parsers import export_parser

if __name__ == "__main__":  # --help needs nothing of what is imported below
    parse_first(export_parser().parse_args)

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.common.screen import keep_going
from minigpt_search.data.tokenizers.base import END_OF_TEXT, Tokenizer
from minigpt_search.data.tokenizers.gpt2 import SEPARATOR_TOKEN
from minigpt_search.data.tokenizers.record import GPT2
from minigpt_search.model.config import ModelConfig
from minigpt_search.model.model_card import FACTS_FILE, ModelFacts, model_card, read_facts
from minigpt_search.model.model_size import parameter_count
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.newest_model import newest_model
from minigpt_search.model.training.checkpoint import load_model, tokenizer_of

_OUTER_NAMES = {
    "token_embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
}
_BLOCK_NAMES = {
    "norm_attention": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "norm_feed_forward": "ln_2",
    "expand": "mlp.c_fc",
    "contract": "mlp.c_proj",
}


def transformers_weights(model: GPT) -> dict[str, Tensor]:
    """The model's weights under `transformers`' names, in its layout; a tied head is left out.

    muP's multipliers, which that model doesn't have, are folded in: the head's into the final
    norm, attention's into the queries.
    """
    weights, ratio = {}, model.width_ratio
    for name, tensor in model.state_dict().items():
        module, _, kind = name.rpartition(".")
        # The head's input divided by r, and attention's logits by sqrt(r), as muP has them.
        if module == "norm" and ratio != 1:
            tensor = tensor / ratio
        if module.endswith("attention.qkv") and ratio != 1:
            queries, others = tensor[: model.config.embed_dim], tensor[model.config.embed_dim :]
            tensor = torch.cat([queries / math.sqrt(ratio), others])
        if module == "head" and model.config.tie_head:
            continue
        if module.startswith("blocks."):
            _, number, part = module.split(".", maxsplit=2)
            if part in ("attention.qkv", "attention.out", "expand", "contract"):
                tensor = tensor.t()  # Conv1D is (in, out); a bias is left as it is
            weights[f"transformer.h.{number}.{_BLOCK_NAMES[part]}.{kind}"] = tensor.contiguous()
        else:
            weights[f"{_OUTER_NAMES[module]}.{kind}"] = tensor.contiguous()
    return weights


def transformers_config(config: ModelConfig, separator: int = SEPARATOR_TOKEN) -> dict[str, Any]:
    """The content of `config.json` for the same architecture, whose texts end with the token
    `separator`."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.seq_len,
        "n_embd": config.embed_dim,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "activation_function": "gelu_new",
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": config.tie_head,
        "bos_token_id": separator,
        "eos_token_id": separator,
    }


def transformers_tokenizer(tokenizer: Tokenizer, seq_len: int) -> dict[str, Any]:
    """The content of `tokenizer_config.json`."""
    if tokenizer.kind == GPT2:
        return {
            "tokenizer_class": "GPT2Tokenizer",
            "model_max_length": seq_len,
            **{f"{kind}_token": END_OF_TEXT for kind in ("bos", "eos", "unk")},
        }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": seq_len,
        **{f"{kind}_token": tokenizer.separator for kind in ("bos", "eos")},
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # in a text they are text, as in training
    }


def export(checkpoint: Path, folder: Path, root: Path) -> ModelFacts | None:
    """Write the checkpoint's model, its tokenizer and its card into `folder`, whole or not at all,
    for everyone to read. Returns what the card says of losses and text; None: that isn't known.

    `root` is the artifacts' folder, whose downloads/ has GPT-2's tokenizer. Raises `UserError` if
    the folder has content already, or the checkpoint is none or without its tokenizer.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not empty; name a new folder")
    model, config, content = load_model(checkpoint)
    tokenizer = tokenizer_of(content, checkpoint, root)
    files = tokenizer.transformers_files()
    for name, fields in (
        ("config.json", transformers_config(config.model, tokenizer.separator_token)),
        ("tokenizer_config.json", transformers_tokenizer(tokenizer, config.model.seq_len)),
    ):
        files[name] = (json.dumps(fields, indent=2) + "\n").encode()
    facts = read_facts(checkpoint)
    files["README.md"] = model_card(config, parameter_count(config.model), facts).encode()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        save_file(transformers_weights(model), made / "model.safetensors", {"format": "pt"})
        for name, written in files.items():
            (made / name).write_bytes(written)
        made.chmod(0o755)
        for path in made.iterdir():  # safetensors makes a file for its owner alone
            path.chmod(0o644)
        made.rename(folder)
    return facts


def main(argv: Sequence[str] | None = None) -> int:
    """Export as the command line says. Returns the exit status."""
    args = export_parser().parse_args(argv)
    root = artifacts_root(args.out)
    if args.checkpoint is None:
        if args.folder.suffix == ".pt":
            raise UserError(f"{args.folder}: looks like a checkpoint; name a new folder after it")
        if (root / "experiments" / args.folder).is_dir():
            raise UserError(
                f"{args.folder}: is an experiment; give a model of its reruns, "
                f"{root}/experiments/{args.folder}/rerun/TRIAL/final.pt, and a new folder"
            )
        args.checkpoint = newest_model(root)
        print(f"Model      {args.checkpoint}", file=sys.stderr)
    keep_going()
    try:
        facts = export(args.checkpoint, args.folder, root)
    except (OSError, SafetensorError) as error:  # the latter for a full disk
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{args.folder}: cannot be written ({reason})") from None
    if facts is None:
        print(
            "Note       README.md has neither losses nor the text's licences: there is no "
            f"{FACTS_FILE} beside the checkpoint; rerun leaves one beside the model that it keeps"
        )
    print(f'Exported   GPT2LMHeadModel.from_pretrained("{args.folder}")')
    return 0


if __name__ == "__main__":
    run_command(main)
