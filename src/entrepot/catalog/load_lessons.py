"""Turns measured rows of engines under load into configurations, and reads what those teach about others."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.data_files import data_path
from entrepot.catalog.hardware import find_hardware
from entrepot.catalog.measured import cost_by_load_rows
from entrepot.domain.errors import DataError
from entrepot.tokenomics.cost_by_load import Configuration, Lesson, LoadRow, configurations
from entrepot.tokenomics.cost_by_load_settings import SETTINGS
from entrepot.tokenomics.deployment import Deployment

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


def load_deployments() -> dict[str, Deployment]:
    """Return what each configuration runs, by name: the H100 of the file as `SETTINGS` has it.

    Raises: DataError when the file is damaged.
    """
    found = {}
    for row in cost_by_load_rows():
        setting = SETTINGS[row.config]
        device = replace(
            find_hardware(row.hardware),
            memory_bytes=setting.memory_bytes / row.gpus,
            bandwidth_bytes_per_s=setting.bandwidth / row.gpus,
        )
        found[row.config] = Deployment(
            architecture=find_architecture(row.model).architecture,
            hardware=device,
            backend=row.engine,
            precision=row.precision,
            tp=row.gpus,
        )
    return found


def load_lessons() -> tuple[Lesson, ...]:
    """Return what every configuration teaches about others, as scripts/fit_load_lessons.py found it.

    Raises: DataError when the file is damaged or of another form.
    """
    where = data_path(SHIPPED)
    try:
        return msgspec.json.decode(where.read_bytes(), type=tuple[Lesson, ...])
    except msgspec.DecodeError as error:
        raise DataError(f"{where}: {error}; make it again with scripts/fit_load_lessons.py") from None
