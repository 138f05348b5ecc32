"""Names of files that strangers send become names in one folder, whatever they hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import InvalidRequest
from llmasos.studio.file_names import numbered, safe_name


@pytest.mark.parametrize(("given_name", "kept"), [
    ("texts.csv", "texts.csv"), ("评论 数据.csv", "评论 数据.csv"), ("Mixed.CSV.GZ", "Mixed.CSV.GZ"),
    ("../../etc/passwd.csv", "passwd.csv"), ("/etc/cron.d/x.json", "x.json"), ("..\\..\\boot.tsv", "boot.tsv"),
    ("C:\\Users\\a\\b.jsonl", "b.jsonl"), ("C:x.txt", "C_x.txt"), ("a\0b.csv", "ab.csv"), (".hidden.csv", "hidden.csv"),
    ("...x.csv", "x.csv"), (" \t x .csv", "x.csv"), ("con.csv", "_con.csv"), ("NUL.txt", "_NUL.txt"),
    ("com1.tar.csv", "_com1.tar.csv"), ("lpt¹.csv", "_lpt¹.csv"), ("a\u202evsc.csv", "avsc.csv"),
    ("a\u200b\ufeff.csv", "a.csv"), ("a\nb.csv", "ab.csv"), ('<b>"|?*.csv', "_b_____.csv"),
    ("cafe\u0301.csv", "café.csv"),
    ("x.csv. . ", "x.csv"), ("a/b/.csv/c.json", "c.json"), ("%2e%2e%2fx.csv", "%2e%2e%2fx.csv"),
])  # fmt: skip
def test_names_are_made_safe(given_name: str, kept: str) -> None:
    assert safe_name(given_name) == kept


@pytest.mark.parametrize("name", [
    "", ".", "..", "../", "a.exe", "a.csv.exe", "a.py", ".csv", "..csv", "csv", "x.gz", "a.csv/", "\0.csv", "a.html\\",
    ".env", "authorized_keys", "\u202e.csv", "a.tar.gz",
])  # fmt: skip
def test_what_is_no_file_of_data_is_refused_with_advice(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        safe_name(name)
    assert refused.value.hint


def test_long_names_are_cut_and_keep_their_ending() -> None:
    name = safe_name("数" * 500 + ".csv.gz")
    assert name.endswith("数.csv.gz") and len(name.encode()) <= 160
    with pytest.raises(InvalidRequest) as refused:
        safe_name("x" * 5000 + ".exe")
    assert len(refused.value.message) < 200


@given(st.text(max_size=60), st.sampled_from([".csv", ".json", ".parquet", ".txt.gz", ".CSV"]))
def test_no_name_leaves_the_folder(stem: str, ending: str) -> None:
    try:
        name = safe_name(stem + ending)
    except InvalidRequest:
        return
    assert not re.search(r'[/\\\0<>:"|?*]', name) and not name.startswith((".", " ")) and name.endswith(ending)
    assert safe_name(name) == name


def test_a_number_stands_before_the_ending() -> None:
    assert numbered("a.csv", 1) == "a.csv"
    assert numbered("a.b.csv.gz", 3) == "a.b-3.csv.gz"
