"""What rows of silicon_measured.csv mean, with their known mistakes put right."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from entrepot.catalog.measured import SiliconRow
from entrepot.catalog.silicon import answerable, measured_points

ROW = SiliconRow(
    id="one",
    concurrency=64,
    measured_on="2026-03-07",
    backend="trtllm",
    model_path="deepseek-ai/DeepSeek-R1",
    system="h200_sxm",
    precision="fp8",
    mode="agg",
    isl=1024,
    osl=1024,
    tp_size=8,
    moe_ep_size=8,
    ttft_s=0.3,
    tpot_s=0.02,
)


@pytest.mark.parametrize(
    ("day", "tp", "dp", "ep", "expected"),
    [
        ("2026-03-07", 8, 1, 8, (8, 1, 8)),
        ("2026-03-07", 1, 8, 8, (1, 8, 8)),
        ("2026-04-06", 64, 1, 8, (8, 1, 8)),
        ("2026-04-27", 1, 64, 8, (1, 8, 8)),
        ("2026-04-06", 8, 1, 1, (8, 1, 1)),
    ],
)
def test_sizes_that_are_products_are_taken_apart(
    day: str, tp: int, dp: int, ep: int, expected: tuple[int, int, int]
) -> None:
    """In the April dumps "tp 64" is 8 GPUs."""
    row = replace(ROW, measured_on=day, tp_size=tp, attention_dp_size=dp, moe_ep_size=ep)
    plan = measured_points([row])[0].deployment
    assert (plan.tp, plan.dp, plan.ep) == expected


def test_lengths_are_the_mean_of_what_requests_drew() -> None:
    """Requests draw 0.8 to 1.0 of the nominal lengths."""
    point = measured_points([ROW])[0]
    assert (point.prompt_tokens, point.output_tokens) == pytest.approx((921.6, 921.6))


def test_rows_without_a_load_are_left_out() -> None:
    """Nothing can be predicted of them."""
    assert measured_points([replace(ROW, concurrency=None)]) == ()


SPLIT = replace(
    ROW,
    id="split",
    mode="disagg",
    system="gb200",
    decode_num_workers=3,
    decode_tp_size=8,
    decode_moe_ep_size=8,
    prefill_num_workers=1,
    prefill_tp_size=4,
)


def test_a_split_row_without_workers_takes_them_from_its_twin() -> None:
    """840 rows lack the number; some are repeated by rows that have it."""
    bare = replace(SPLIT, id="bare", decode_num_workers=None, tpot_s=SPLIT.tpot_s * 1.0001)
    one, twin = measured_points([bare, SPLIT])
    assert {one.workers, twin.workers} == {3}
    assert not one.assumed
    assert not twin.assumed


def test_a_split_row_without_workers_and_twin_says_what_was_assumed() -> None:
    """An assumption that looks like a measurement would be one more mistake in the data."""
    point = measured_points([replace(SPLIT, decode_num_workers=None)])[0]
    assert point.is_split
    assert "decode workers" in point.assumed


def test_rows_that_cannot_be_predicted_are_counted_by_reason() -> None:
    """Nothing that somebody measured ends the command: what is unknown or impossible is said."""
    rows = (
        ROW,
        replace(ROW, model_path="acme/unknown-7b"),
        replace(ROW, system="z9"),
        replace(ROW, concurrency=None),
        replace(ROW, tpot_s=0.0),
        replace(ROW, system="l4", tp_size=1, moe_ep_size=1),
    )
    points, reasons = answerable(rows)
    assert [point.id for point in points] == ["one"]
    assert reasons == {
        "no architecture of acme/unknown-7b": 1,
        "no hardware z9": 1,
        "no concurrency": 1,
        "lengths or times are not above 0": 1,
        "does not fit in memory": 1,
    }
