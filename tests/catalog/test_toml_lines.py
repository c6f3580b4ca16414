"""Every key is found on the line where a reader finds it."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.catalog.toml_lines import KeyPath, key_lines, line_of

SAMPLE = '''\
# a comment
title = "x"  # [not] = a key

[server]
port = 8000

[[hosts]]          # line 7
name = "a"
headers = { x = "1", y = ["2",
  "3"] }
"quoted key" = 1
'literal.key' = 2

[[hosts.endpoints]]
model = """
[fake]
name = "no"
"""
tags = [
  "]", # ]
  'b',
]
[[hosts.endpoints]]
model = 'm'
nested.dotted.key = 3

[[hosts]]
name = "b"
[hosts.more]
x = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("server",), 4),
        (("server", "port"), 5),
        (("hosts", 0), 7),
        (("hosts", 0, "name"), 8),
        (("hosts", 0, "headers"), 9),
        (("hosts", 0, "headers", "y"), 9),
        (("hosts", 0, "quoted key"), 11),
        (("hosts", 0, "literal.key"), 12),
        (("hosts", 0, "endpoints", 0), 14),
        (("hosts", 0, "endpoints", 0, "model"), 15),
        (("hosts", 0, "endpoints", 0, "tags"), 19),
        (("hosts", 0, "endpoints", 1, "model"), 24),
        (("hosts", 0, "endpoints", 1, "nested", "dotted", "key"), 25),
        (("hosts", 1, "name"), 28),
        (("hosts", 1, "more", "x"), 30),
        (("hosts", 1, "endpoints"), 27),
        (("missing",), 1),
    ],
)
def test_a_key_has_the_line_that_it_stands_on(path: KeyPath, line: int) -> None:
    """Tables of arrays by index; what is inside of a value has the value's first line."""
    tomllib.loads(SAMPLE)
    assert line_of(key_lines(SAMPLE), path) == line


def test_escapes_in_quoted_keys_are_read() -> None:
    """The path is the one that tomllib gives."""
    text = '"\\u0061\\"b" = 1\n'
    (key,) = tomllib.loads(text)
    assert key_lines(text)[(key,)] == 1


TOML_LIKE = st.lists(
    st.sampled_from(
        [
            *"ab.=[]{}#,\"'\\\n ",
            '"""',
            "'''",
            "[[",
            "]]",
            "a = 1\n",
            "[a]\n",
            "[[a]]\n",
            "[a.b]\n",
            "\r\n",
            "1",
            "\x00",
        ]
    ),
    max_size=40,
).map("".join)


@given(TOML_LIKE | st.text(max_size=60))
def test_no_text_stops_the_scan(text: str) -> None:
    """Valid TOML or not, the scan ends, and lines lie inside of the text."""
    assert all(1 <= line <= text.count("\n") + 1 for line in key_lines(text).values())


@given(TOML_LIKE)
def test_every_key_that_tomllib_sees_is_found(text: str) -> None:
    """No key of the top level or of a table of the top level falls back to line 1."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    assert all((key,) in lines for key in values)
