"""Turns measured rows of engines under load into configurations, and reads what those teach about others."""

from __future__ import annotations

import msgspec

from entrepot.catalog.data_files import data_path
from entrepot.catalog.measured import cost_by_load_rows
from entrepot.domain.errors import DataError
from entrepot.tokenomics.cost_by_load import Configuration, Lesson, LoadRow, configurations
from entrepot.tokenomics.cost_by_load_settings import SETTINGS

SHIPPED = "tokenomics/cost_by_load_lessons.json"


def load_configurations() -> tuple[Configuration, ...]:
    """Return the configurations of cost_by_load_measured.csv with their rows.

    Raises: DataError when the file is damaged.
    """
    rows = [
        LoadRow(
            config=row.config,
            offered_rps=row.offered_per_s,
            throughput_rps=row.requests_per_s,
            tpot_p50_s=row.tpot_p50_s,
            tpot_p90_s=row.tpot_p90_s,
            ttft_p50_s=row.ttft_p50_s,
            ttft_p90_s=row.ttft_p90_s,
            answer_p50_s=row.answer_p50_s,
            gpu_cost_usd_per_hour=row.gpu_usd_per_hour,
        )
        for row in cost_by_load_rows()
    ]
    return configurations(rows, SETTINGS)


def load_lessons() -> tuple[Lesson, ...]:
    """Return what every configuration teaches about others, as scripts/fit_load_lessons.py found it.

    Raises: DataError when the file is damaged or of another form.
    """
    where = data_path(SHIPPED)
    try:
        return msgspec.json.decode(where.read_bytes(), type=tuple[Lesson, ...])
    except msgspec.DecodeError as error:
        raise DataError(f"{where}: {error}; make it again with scripts/fit_load_lessons.py") from None
