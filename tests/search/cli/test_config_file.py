"""`--config FILE.toml`, and the file that repeats a search."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.cli.config_file import config_text, with_config
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.cli.search_flags import warm_starts
from minigpt_search.search.records.experiment import Experiment


def words_of(tmp_path: Path, text: str, *words: str) -> list[str]:
    path = tmp_path / "flags.toml"
    path.write_text(text)
    return with_config(["--config", str(path), *words])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('grid = "lr"', "--grid lr"),
        ("lr = [3e-4, 1e-3]", "--lr 0.0003,0.001"),
        ('lr = "3e-4,1e-3"', "--lr 3e-4,1e-3"),
        ("lr = 1", "--lr 1"),
        ("epochs = [1, 2]", "--epochs 1,2"),
        ('grid = ["lr", "epochs"]', "--grid lr,epochs"),
        ("tokens-per-epoch = 9\nval_tokens = 8", "--tokens-per-epoch 9 --val-tokens 8"),
        ("checkpoint-every = 5", "--checkpoint-every 5"),
        ("decay-fraction = 0.5", "--decay-fraction 0.5"),
        ("dry-run = true", "--dry-run"),
        ("dry-run = false", ""),
        ("paired = true", "--paired"),
        ("paired = false", "--no-paired"),
        ("pack = 4", "--pack 4"),
        ('pack = "auto"', "--pack auto"),
        ('space = ["a=1:2", "b=3"]', "--space a=1:2 --space b=3"),
        ('warm-start = "x,y"', "--warm-start x,y"),
        ('name = "-x"', "--name=-x"),
        ("", ""),
    ],
)
def test_a_key_is_a_flag(tmp_path: Path, text: str, words: str) -> None:
    assert words_of(tmp_path, text) == shlex.split(words)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rate = 1", "'rate': no such flag"),
        ("help = true", "'help': no such flag"),
        ('config = "x"', "'config': no such flag"),
        ("[lr]\nmin = 1", "'lr': give a number or text in quotes"),
        ("lr = [[1]]", "'lr': give"),
        ("lr = true", "'lr': give"),
        ('seeds = "3"', "'seeds': give a whole number, without quotes"),
        ("seeds = 1.5", "'seeds': give a whole number"),
        ("seeds = true", "'seeds': give a whole number"),
        ('checkpoint-every = "9"', "'checkpoint-every': give a number"),
        ("dry_run = 1", "'dry_run': give true or false"),
        ("name = 5", "'name': give text in quotes"),
        (r'out = "a\u0000b"', "'out': give text without the character 0"),
        ('name = ["a"]', "'name': give text"),
        ("budget = 09:00:00", "'budget': give text"),
        ('search = "guess"', "'search': --search: invalid choice"),
        ("val-tokens = 1\nval_tokens = 2", "'val_tokens': is there twice"),
        ("lr = ", "no TOML"),
        ("lr = 1\nlr = 2", "no TOML"),
        ("x = " + "[" * 100_000, "no TOML"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(UserError) as error:
        words_of(tmp_path, text)
    assert "flags.toml" in str(error.value) and named in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(UserError, match=f"^--config {path}: can't be read"):
            with_config(["--config", str(path)])


def test_the_command_line_wins_also_over_flags_that_add_up(tmp_path: Path) -> None:
    text = 'lr = 1e-3\nseeds = 3\nspace = ["dropout=0", "n_layers=1,2"]\nwarm-start = ["a", "b"]\n'
    words = ("--seeds", "2", "--lr=2e-3", "--space", "dropout=0.1", "--warm-start", "c")
    args = make_parser().parse_args(words_of(tmp_path, text, *words))
    assert (args.seeds, args.lr, args.warm_start) == (2, "2e-3", ["c"])
    assert args.space == ["n_layers=1,2", "dropout=0.1"]
    args = make_parser().parse_args(words_of(tmp_path, "lr = 1e-3", "--space", "lr=1e-4:1e-2"))
    assert (args.lr, args.space) == (None, ["lr=1e-4:1e-2"])
    args = make_parser().parse_args(words_of(tmp_path, 'space = ["lr=1e-4"]', "--lr", "1e-2"))
    assert (args.lr, args.space) == ("1e-2", None)


def experiment_of(words: list[str]) -> Experiment:
    args = make_parser().parse_args(words)
    args.words = tuple(words)
    return make_experiment(args, "cpu").replace(name="x", created_at="", command=())


@pytest.mark.parametrize(
    "command",
    [
        "--grid lr",
        "--grid lr,epochs --lr 3e-4,1.5e-3 --epochs 1,2 --seeds 3 --seed 7 --preset quick",
        "--search tpe --trials 9 --space dropout=0:0.1 --space n_layers=1,2 --max-cost 5e13flop",
        "--search gp --budget 30m --objective val_loss,cost",
        "--grid lr --confirm 2 --confirm-seeds 5 --warm-start a,b --warm-start c",
        "--schedule wsd --grid epochs --decay-fraction 0.3 --checkpoint-every 7.5 --pack 2",
        "--grid schedule --space schedule=linear,cosine --cpus-per-trial 1 --max-disk 2GB",
        "--grid claims --tokens-per-epoch 20000 --val-tokens 4096 --stop asha",
        "--grid lr --seeds 2 --paired",
        "--grid lr --seeds 2 --no-paired",
    ],
)
def test_what_an_experiment_writes_begins_the_same_search(tmp_path: Path, command: str) -> None:
    words = shlex.split(command)
    args = make_parser().parse_args([*words, "--name", "mine", "--dry-run", "--extend", "other"])
    args.words = tuple(words)
    text = config_text(args, experiment_of(words).replace(name="mine", preset="quick"), tmp_path)
    assert text.startswith("# The search mine.") and 'preset = "quick"' in text
    assert f"paired = {str(experiment_of(words).noise.paired).lower()}\n" in text
    assert not any(word in text for word in ("name =", "dry", "extend", "words"))
    again = words_of(tmp_path, text)
    assert experiment_of(again) == experiment_of(words)
    before, now = make_parser().parse_args(words), make_parser().parse_args(again)
    assert now.out == before.out
    assert warm_starts(now) == warm_starts(before)


def test_paths_of_any_bytes_come_back(tmp_path: Path) -> None:
    odd = tmp_path / 'a "b" \\ ü \x7f \udcff'
    args = make_parser().parse_args(["--grid", "lr", "--out", "relative"])
    text = config_text(args, experiment_of(["--grid", "lr", "--preset", "full"]), odd)
    path = tmp_path / "x.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert with_config(["--config", str(path)]) == [
        *("--grid", "lr", "--preset", "full", "--no-paired", "--out", str(odd)),
    ]


def test_with_resume_only_its_flags_may_be_in_the_file(tmp_path: Path) -> None:
    words = words_of(tmp_path, 'resume = "x"\nskip-damaged = true', "--out", "y")
    assert words == ["--resume", "x", "--skip-damaged", "--out", "y"]
