"""What is printed of other people's texts."""

from __future__ import annotations

import unicodedata

import pytest

from slsgu.utils.wording import printable, shortened

GONE = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]0;title\x07",
        "\x9b2J",  # CSI in one character
        "\x00\x7f\r\n\t\v\f\x85",
        "\u202a\u202b\u202c\u202d\u202e",
        "\u2066\u2067\u2068\u2069",
        "\u2028\u2029",
        "\ud800\udcff",
        "\ufeff\u200b\u206a\ufff9",
    ],
)
def test_what_is_a_command_or_another_line_is_replaced(text: str) -> None:
    found = printable(f"a{text}b")
    assert len(found) == len(text) + 2 and found[0] + found[-1] == "ab"
    safe = set(found) - {GONE}
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in safe)
    assert GONE in found and found.encode() and printable(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "an Oudi A1, red (2019)",
        "Käfer, cafe\u0301, żółw",
        "金毛寻回犬\u3000ゴールデン",  # an ideographic space
        "می\u200cخواهم",  # Persian needs the non-joiner
        "עברית\u200f, العربية",
        "क्\u200dष",
        "👩\u200d🚀 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f ❤\ufe0f",
        "10\u00a0km",
        "\ue000 \U0001faf9",  # private use, and newer than some tables of Unicode
    ],
)
def test_texts_of_every_script_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("value", ["a" * 2_000_000, "line\n" * 400_000, "wide \n" + "b" * 10_000])
def test_a_long_value_leaves_a_message_that_can_be_read(value: str) -> None:
    found = shortened(f"Error: file.txt: {value}: give another")
    assert len(found) < 21_000 and " characters ...] " in found
    assert found.startswith("Error: file.txt: ") and found.endswith(": give another")


def test_a_message_of_usual_length_stays_as_it_is() -> None:
    told = "\n".join(["a line of usual length " * 6] * 50)  # control
    assert shortened(told) == told
