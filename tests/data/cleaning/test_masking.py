"""What is masked, and what only looks like it."""

from __future__ import annotations

import pytest

from llmasos.data.cleaning.masking import MaskPersonalData, is_credit_card, is_id_card, luhn

ALL = MaskPersonalData(kinds=("url", "email", "phone", "id_card", "credit_card", "ip_address"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jane.doe+x@mail.example.org.", "write to [EMAIL]."),
        ("邮箱zhang@qq.com联系", "邮箱[EMAIL]联系"),
        ("see https://a.example/b?c=d&e=(f) and www.example.org, ok", "see [URL] and [URL], ok"),
        ("网址http://example.cn/路径", "网址[URL]路径"),
        ("身份证11010519491231002X。", "身份证[ID]。"),
        ("card 4111 1111 1111 1111 or 5500-0000-0000-0004", "card [CARD] or [CARD]"),
        ("电话：13812345678，座机010-12345678", "电话：[PHONE]，座机[PHONE]"),
        ("+49 30 1234567 and +1 (415) 555-2671 and +8613812345678", "[PHONE] and [PHONE] and [PHONE]"),
        ("call (415) 555-2671 or 415-555-2671", "call [PHONE] or [PHONE]"),
        ("from 192.168.10.1 to 2001:db8:0:0:0:0:0:1 and fe80:1:2::3", "from [IP] to [IP] and [IP]"),
    ],
)
def test_masked(text: str, expected: str) -> None:
    masked, counts = ALL.build()(text)
    assert masked == expected
    assert sum(counts.values()) == expected.count("[")


@pytest.mark.parametrize(
    "text",
    [
        "in 2024-01-15 it was 3.1415926535", "version 1.2.3 and 10:30:00", "999.999.999.999", "order 12345678",
        "4111 1111 1111 1112", "110105194912310021", "user@localhost", "a @ b . c", "1234567890123456",
        "ISBN 978-3-16-148410-0", "std::vector", "http:// nothing", "1 000 000", "0123", "2019-2020",
        "100200300400", "sha 1234abcd5678", "ratio 16:9", "1.234.567,89",
    ],
)  # fmt: skip
def test_not_masked(text: str) -> None:
    assert ALL.build()(text) == (text, {})


def test_counts_by_kind_and_own_placeholders() -> None:
    config = MaskPersonalData(kinds=("email", "phone"), placeholders={"email": "<mail>"})
    assert config.build()("a@b.org c@d.org 13812345678 http://x.org") == (
        "<mail> <mail> [PHONE] http://x.org",
        {"emails_masked": 2, "phones_masked": 1},
    )


def test_a_placeholder_that_looks_like_what_it_stands_for_is_masked_once() -> None:
    config = MaskPersonalData(kinds=("email",), placeholders={"email": "email@example.com"})
    assert config.build()("a@b.org") == ("email@example.com", {"emails_masked": 1})
    assert config.build()("email@example.com") == ("email@example.com", {})


@pytest.mark.parametrize(("number", "right"), [("79927398713", True), ("79927398710", False), ("0", True)])
def test_luhn(number: str, right: bool) -> None:
    assert luhn(number) == right


@pytest.mark.parametrize(
    ("number", "right"),
    [
        ("11010519491231002X", True), ("440524188001010014", True), ("110105194912310021", False),
        ("11010519491331002X", False), ("11010519490230002X", False),
    ],
)  # fmt: skip
def test_id_cards(number: str, right: bool) -> None:
    assert is_id_card(number) == right


def test_credit_cards_are_not_all_the_same_digit() -> None:
    assert is_credit_card("4111111111111111")
    assert not is_credit_card("2222222222222222")
    assert not is_credit_card("0000000000000000")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", ["1", "1 ", "a", "a.", "a@", "1.", "1:", "+1", "http://", "(", "www.", "1-", "4 1 1 1"]
)
def test_long_runs_take_linear_time(piece: str) -> None:
    assert len(ALL.build()(piece * 100_000)[0]) <= 100_000 * len(piece)
