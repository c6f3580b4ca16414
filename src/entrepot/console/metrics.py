"""The gateway's counts in Prometheus' words, read at the moment of the scrape.

A collector of our own rather than the client's counters: those take a lock at every increment, on the
way of a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from entrepot.domain.estimate import INTERVAL_SHARE, Estimate
from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.outcome import Outcome
from entrepot.gateway.gateway import Gateway


class _Estimates:
    """All estimates of endpoints in five families, with the estimate's name, unit last, as a label.

    The basis is a label of the value alone: the others would begin a new series when it changes.
    """

    def __init__(self) -> None:
        labels = ["endpoint", "estimate"]
        self._value = GaugeMetricFamily(
            "entrepot_endpoint_estimate", "What is expected, or was seen.", labels=[*labels, "basis"]
        )
        self._low = GaugeMetricFamily(
            "entrepot_endpoint_estimate_low",
            f"Lower end of its {INTERVAL_SHARE:.0%} interval.",
            labels=labels,
        )
        self._high = GaugeMetricFamily(
            "entrepot_endpoint_estimate_high",
            f"Upper end of its {INTERVAL_SHARE:.0%} interval.",
            labels=labels,
        )
        self._count = GaugeMetricFamily(
            "entrepot_endpoint_estimate_observations", "Decayed count of observations.", labels=labels
        )
        self._age = GaugeMetricFamily(
            "entrepot_endpoint_estimate_age_seconds", "Age of the youngest observation.", labels=labels
        )
        self.families = (self._value, self._low, self._high, self._count, self._age)

    def add(self, endpoint: str, called: str, estimate: Estimate) -> None:
        """Add one estimate of an endpoint."""
        labels = [endpoint, called]
        self._value.add_metric([*labels, estimate.basis.value], estimate.value)
        self._count.add_metric(labels, estimate.count)
        if estimate.interval is not None:
            low, high = estimate.interval
            self._low.add_metric(labels, low)
            self._high.add_metric(labels, high)
        if estimate.age_s is not None:
            self._age.add_metric(labels, estimate.age_s)


class GatewayCollector(Collector):
    """Yields the metrics of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Metric]:
        """Return all metric families as they stand now."""
        yield from self._attempts()
        yield from self._ledger()
        yield from self._contents()
        yield from self._endpoints()

    def _attempts(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily(
            "entrepot_attempts", "Attempts by endpoint and outcome.", labels=["endpoint", "outcome"]
        )
        tokens = CounterMetricFamily("entrepot_tokens", "Tokens settled.", labels=["endpoint", "kind"])
        spent = CounterMetricFamily("entrepot_spent_usd", "Dollars settled.", labels=["endpoint"])
        for target in self._gateway.targets:
            name, counts = target.endpoint.name, self._gateway.counters.endpoints[target.index]
            for outcome, count in zip(Outcome, counts.attempts, strict=True):
                attempts.add_metric([name, outcome.name.lower()], count)
            tokens.add_metric([name, "prompt"], counts.prompt_tokens)
            tokens.add_metric([name, "output"], counts.output_tokens)
            spent.add_metric([name], counts.spent_nusd / NUSD_PER_USD)
        refusals = CounterMetricFamily("entrepot_refusals", "Requests refused, by reason.", labels=["code"])
        for code, count in self._gateway.counters.refusals.items():
            refusals.add_metric([code], count)
        yield from (attempts, tokens, spent, refusals)

    def _ledger(self) -> Iterator[Metric]:
        ledger = self._gateway.ledger
        yield GaugeMetricFamily(
            "entrepot_journal_backlog_bytes",
            "Bytes of the journal that the store does not have yet.",
            value=ledger.backlog_bytes(),
        )
        yield GaugeMetricFamily(
            "entrepot_journal_sync_age_seconds",
            "How long the oldest unsynced entry of the journal waits for the disk.",
            value=ledger.journal.sync_age_s(monotonic()),
        )
        yield GaugeMetricFamily(
            "entrepot_journal_segments",
            "Files of the journal in the data directory.",
            value=ledger.journal.segment_count(),
        )
        yield GaugeMetricFamily(
            "entrepot_open_reservations",
            "Attempts under way that hold a reservation.",
            value=ledger.open_reservations,
        )
        yield GaugeMetricFamily(
            "entrepot_client_connections",
            "Open connections of clients.",
            value=len(self._gateway.listener.connections),
        )

    def _contents(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "entrepot_contents_dropped",
            "Prompts, answers and names of tasks that could not be kept.",
            value=self._gateway.contents.dropped,
        )

    def _endpoints(self) -> Iterator[Metric]:
        now_s = monotonic()
        families = {
            name: GaugeMetricFamily(f"entrepot_endpoint_{name}", text, labels=["endpoint", "basis"])
            for name, text in (
                ("ttft_seconds", "Expected time to first token."),
                ("tpot_seconds", "Expected time per output token."),
                ("failure_ratio", "Expected share of attempts that fail."),
            )
        }
        in_flight = GaugeMetricFamily(
            "entrepot_endpoint_in_flight", "Attempts under way.", labels=["endpoint"]
        )
        known = _Estimates()
        for target in self._gateway.targets:
            kpis = self._gateway.knowledge.kpis(target.index, now_s)
            name = target.endpoint.name
            for family, estimate in zip(
                families.values(), (kpis.ttft_s, kpis.tpot_s, kpis.failure_share), strict=True
            ):
                family.add_metric([name, estimate.basis.value], estimate.value)
            in_flight.add_metric([name], kpis.in_flight)
            for called, estimate in kpis.estimates().items():
                known.add(name, called, estimate)
        yield from families.values()
        yield in_flight
        yield from known.families
