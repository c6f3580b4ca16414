"""A size ratchet: large functions and files are where other gateways became unreadable, so ours cannot grow.

A linter's per-line ignore would let an exception grow unseen; here each is listed by name with its size.
"""

from __future__ import annotations

import tomllib

import pytest

from tests.arch.source_tree import ROOT, function_lengths, product_files, source_files

MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 500
P90_FUNCTION_LINES = 30
EXCEPTIONS_FILE = "tests/arch/size_exceptions.toml"


def listed_exceptions(kind: str) -> dict[str, int]:
    """Return the listed sizes by name, of files or of functions."""
    sizes = tomllib.loads((ROOT / EXCEPTIONS_FILE).read_text(encoding="utf-8"))[kind]
    assert isinstance(sizes, dict)
    return sizes


def ratchet_violations(sizes: dict[str, int], *, limit: int, listed: dict[str, int]) -> list[str]:
    """Return one sentence for each name whose size is not as the limit or the list says."""
    problems = []
    for name in sorted({name for name, size in sizes.items() if size > limit} | listed.keys()):
        size, allowed = sizes.get(name), listed.get(name)
        if size is None:
            problems.append(f"{name} is gone: remove it from {EXCEPTIONS_FILE}")
        elif allowed is None:
            problems.append(f"{name} has {size} lines, the limit is {limit}: split it by a better noun")
        elif size <= limit:
            problems.append(f"{name} has {size} lines and fits: remove it from {EXCEPTIONS_FILE}")
        elif size > allowed:
            problems.append(f"{name} grew from {allowed} to {size} lines: exceptions may only shrink")
        elif size < allowed:
            problems.append(f"{name} shrank from {allowed} to {size} lines: lower it in {EXCEPTIONS_FILE}")
    return problems


def test_no_function_is_longer_than_its_limit() -> None:
    """A function has at most 50 lines, or exactly the size at which it is listed as an exception."""
    sizes = {name: lines for file in source_files() for name, lines in function_lengths(file)}
    problems = ratchet_violations(sizes, limit=MAX_FUNCTION_LINES, listed=listed_exceptions("functions"))
    assert not problems, "\n".join(problems)


def test_no_file_is_longer_than_its_limit() -> None:
    """A file has at most 500 lines, or exactly the size at which it is listed as an exception."""
    sizes = {file.name: file.lines for file in source_files()}
    problems = ratchet_violations(sizes, limit=MAX_FILE_LINES, listed=listed_exceptions("files"))
    assert not problems, "\n".join(problems)


def test_nine_of_ten_functions_fit_in_half_a_screen() -> None:
    """The 90th percentile of function lengths in the product is at most 30 lines."""
    lengths = sorted(lines for file in product_files() for _, lines in function_lengths(file))
    p90 = lengths[len(lengths) * 9 // 10]
    assert p90 <= P90_FUNCTION_LINES, f"the 90th percentile is {p90} lines"


@pytest.mark.parametrize(
    ("size", "listed", "complaint"),
    [
        (50, None, None),
        (51, None, "the limit is 50"),
        (60, 60, None),
        (61, 60, "grew from 60 to 61"),
        (59, 60, "shrank from 60 to 59"),
        (50, 60, "fits: remove it"),
        (None, 60, "is gone: remove it"),
    ],
)
def test_an_exception_may_only_shrink(size: int | None, listed: int | None, complaint: str | None) -> None:
    """A listed size is exact: growth fails, and so does a list that has become too generous."""
    sizes = {} if size is None else {"f": size}
    exceptions = {} if listed is None else {"f": listed}
    problems = ratchet_violations(sizes, limit=50, listed=exceptions)
    if complaint is None:
        assert problems == []
    else:
        assert len(problems) == 1
        assert complaint in problems[0]
