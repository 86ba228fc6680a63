"""Rows of every kind of file: their text, and what is said of one that has none."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers.rows import parse_template

Read = Callable[..., Any]
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
SHARED = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "H"}, {"text": "i"}]}]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as the ending says, by other libraries than the readers'."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    match path.suffix:
        case ".jsonl":
            path.write_text("\n\n".join(json.dumps(row) for row in rows))
        case ".json":
            path.write_text(json.dumps(rows, indent=2))
        case ".parquet":
            parquet.write_table(pa.Table.from_pylist(rows), path)
        case ending:
            table = io.StringIO(newline="")
            writer = csv.DictWriter(table, names, delimiter="\t" if ending == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
            path.write_bytes(table.getvalue().encode())


FILES = ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=5))
def test_any_text_is_kept(
    read: Read, tmp_path_factory: pytest.TempPathFactory, name: str, texts: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any_{name}"
    write_rows(path, [{"id": number, "text": text} for number, text in enumerate(texts)])
    assert read(path, separator=None).documents == texts


@pytest.mark.parametrize("name", FILES)
def test_long_and_empty_rows_and_separators(read: Read, tmp_path: Path, name: str) -> None:
    long = "a long row, \t\u00e9\n\n" * 80_000
    texts = ["one", "", long, "two<|endoftext|>three", "x" * 200_000]
    write_rows(tmp_path / name, [{"text": text, "id": 1} for text in texts])
    found = read(tmp_path / name)
    assert found.documents == ["one", long, "two", "three", texts[-1]]
    assert found.passed_over == {"empty_row": 1}


@pytest.mark.parametrize(
    ("row", "text", "made_of"),
    [
        ({"messages": MESSAGES}, "user: Hi\n\nassistant: Hello", "`ROLE: TEXT` paragraphs of mess"),
        ({"messages": PARTS}, "user: Hi", "`ROLE: TEXT` paragraphs of messages"),
        ({"conversations": SHARED}, "human: Hi\n\ngpt: Hello", "paragraphs of conversations"),
        ({"prompt": "P", "completion": " C"}, "P\n\n C", "paragraphs of prompt, completion"),
        ({"prompt": "P", "response": "R"}, "P\n\nR", "paragraphs of prompt, response"),
        ({"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}, "user: Hi\n\nassistant: Hello", ""),
        ({"instruction": "I", "input": "N", "output": "O"}, "I\n\nN\n\nO", "input, output"),
        ({"instruction": "I", "input": "", "output": "O"}, "I\n\nO", "instruction, input, output"),
        ({"instruction": "I", "context": "C", "response": "R"}, "I\n\nC\n\nR", "context, response"),
        ({"question": "Q", "answer": "A", "id": "7"}, "Q\n\nA", "question, answer"),
        ({"text": "T", "question": "Q", "answer": "A"}, "T", None),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_chats_and_instructions(
    read: Read, tmp_path: Path, name: str, row: dict[str, Any], text: str, made_of: str | None
) -> None:
    if name == "a.parquet" and row.get("messages") is PARTS:
        row = json.loads(json.dumps(row).replace('{"text"', '{"type": "text", "text"'))
    write_rows(tmp_path / name, [row, row])
    found = read(tmp_path / name)
    assert found.documents == [text, text]
    unused = [note for note in found.notes if note.startswith("columns not used: ")]
    notes = [note for note in found.notes if note not in unused]
    expected = ["columns not used: question, answer"] if made_of is None else []
    assert unused == (["columns not used: id"] if "id" in row else expected)
    if made_of is None:
        assert notes == []
    else:
        assert len(notes) == 1 and made_of in notes[0]


@pytest.mark.parametrize("name", FILES)
def test_template(read: Read, tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / name, [{"q.x": "Q{0}", "a": "A", "text": "T"}] * 2)
    template = r"<{q.x}>\n\t{{{a}}} \\n"
    assert read(tmp_path / name, template=template).documents == ["<Q{0}>\n\t{A} \\n"] * 2
    with pytest.raises(UserError, match="no column 'b', which --template names; there are 'q"):
        read(tmp_path / name, template="{a}{b}")


@pytest.mark.parametrize("template", ["", "text", "{}", "{a!r}", "{a:>9}", "{a", "a}", "{a:{b}}"])
def test_templates_name_columns_only(template: str) -> None:
    with pytest.raises(UserError, match="--template "):
        parse_template(template)
    assert parse_template("{a.__class__}") == [("", "a.__class__")]  # a column of that name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "line 2: not JSON .*; `--bad-rows skip`"),
        ("a.jsonl", '{"text": "a"}\n{"body": "b"}\n', "line 2: no column 'text'; there are 'body'"),
        ("a.jsonl", '{"text": 5}\n', "line 1: column 'text' holds a int"),
        ("a.jsonl", "[1]\n", "line 1: expected an object, found a list"),
        ("a.jsonl", '{"messages": [{"role": "a"}]}', "line 1: column 'messages' holds what is no"),
        ("a.json", '[{"text": "a"},\n\n {"text": 1}]', "line 3: column 'text' holds a int"),
        ("a.json", '[{"text": "a"},\n]', "line 2: not JSON .a value is missing"),
        ("a.json", '[{"text": "a"}\n', "line 2: not JSON .expected `,` or"),
        ("a.json", '[{"text": "a"}] 1', "line 1: not JSON .something follows"),
        ("a.json", "[" * 100_000, "line 1: not JSON"),
        ("a.json", "[5]", "line 1: expected an object, found a int"),
        ("a.json", "", "line 1: not JSON"),
        ("a.json", '{"a": [{"text": "b"}], "c": [1]}', "no column 'text'; there are 'a', 'c'"),
        ("a.csv", 'text,id\na,1\n"b\nc",2\nd\n', "line 5: 1 fields, the first line names 2"),
        ("a.csv", 'text,id\na,1\n"b,2\n\n', "line 3: not a row of a table .unexpected end"),
        ("a.csv", 'text,id\n"a"b,1\n', "line 2: not a row of a table"),
        ("a.csv", "text,text\n1,2\n", "line 1: two columns have one name"),
        ("a.csv", "id,body\n1,b\n", "line 2: no column 'text'; there are 'id', 'body'"),
    ],
)
def test_broken_rows_are_named(
    read: Read, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text"\n{"text": "a"}\n[]\n{"text": 1}\n{"x": 1}\n{"text": "b"}'),
        ("a.json", '[[], {"text": "a"}, 5, {"text": 1}, {"x": 1}, "b"]'),
        ("a.csv", 'text,id\nx\n"a"b,1\na,1\n1,2,3\nb,2\n"c,3\n'),
    ],
)
def test_bad_rows_are_passed_over_and_counted(
    read: Read, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    found = read(tmp_path / name, bad_rows="skip")
    assert found.documents == ["a", "b"] and found.passed_over == {"bad_row": 4}
    (tmp_path / "b.jsonl").write_text('{"x": 1}\n{"y": 2}\n')
    with pytest.raises(UserError, match=r"b.jsonl, line 1: no column 'text'; there are 'x'"):
        read(tmp_path / "b.jsonl", bad_rows="skip")


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "a"}, {"text": "b"}]',
        '["a", "b"]',
        '{"version": 1, "data": [{"text": "a"}, "b"]}',
        '{"text": "a"}\n{"text": "b"}\n',
        '{"text": "a"} {"text": "b"}',
        '\ufeff\n[\n"a"\n,"b"\n]\n',
    ],
)
def test_shapes_of_json(read: Read, tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert read(tmp_path / "a.json").documents == ["a", "b"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_of_spreadsheets(read: Read, tmp_path: Path, delimiter: str, end: str) -> None:
    long = "x" * 200_000  # the csv library's limit is 131,072
    rows = [["id", "text"], ["1", "a"], [], ["2", f'"b{end},;\t""q"" {long}"'], ["3", "c"]]
    table = end.join(delimiter.join(row) for row in rows)
    (tmp_path / "a.csv").write_bytes(table.encode())
    assert read(tmp_path / "a.csv").documents == ["a", f'b{end},;\t"q" {long}', "c"]


def test_half_a_surrogate_pair_is_told(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "half \\ud83d of it"}\n')
    found = read(tmp_path / "a.jsonl")
    assert found.documents == ["a", "half \ufffd of it"]
    assert found.notes == ["half a surrogate pair is read as U+FFFD: a.jsonl, line 2"]
    (tmp_path / "a.jsonl").write_text('"\\ud83d"\n' * 9)
    assert (
        read(tmp_path / "a.jsonl")
        .notes[0]
        .endswith(": a.jsonl, line 1, a.jsonl, line 2, a.jsonl, line 3 and 6 more")
    )


def test_parquet(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"body": ["one", None, "two"], "id": [1, 2, 3]}), path)
    found = read(path, text_column="body")
    assert found.documents == ["one", "two"] and found.passed_over == {"empty_row": 1}
    with pytest.raises(UserError, match="no column 'text'; there are 'body', 'id'"):
        read(path)
    with pytest.raises(UserError, match="column 'id' holds a int, not text"):
        read(path, text_column="id")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"a.parquet: not a valid parquet file"):
        read(path, text_column="body")
