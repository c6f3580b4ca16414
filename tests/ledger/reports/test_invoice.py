"""Invoices and usage exports are read by what their columns mean, and every amount stays exact."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from entrepot.domain.usage import Usage
from entrepot.ledger.reports.invoice import Invoice, InvoiceLine, read_invoice


def read(text: str, **columns: str) -> Invoice:
    """Return the invoice of a CSV text."""
    return read_invoice(text.splitlines(keepends=True), columns)


def line(text: str, **columns: str) -> InvoiceLine:
    """Return the only line of a CSV text."""
    (found,) = read(text, **columns).lines
    return found


# Who writes it, the text, the tokens, the cost in nano-dollars, the requests.
EXPORTS = {
    "openai usage": (
        "start_time,model,num_model_requests,input_tokens,input_cached_tokens,output_tokens\n"
        "1763942400,gpt-x,3,1000,400,50\n",
        Usage(600, 400, 0, 50),
        None,
        3,
    ),
    "openai costs": (
        "start_time_iso,amount_value,amount_currency,line_item\n"
        "2025-11-24T00:00:00+00:00,1.25,usd,gpt-x input\n",
        None,
        Decimal(1_250_000_000),
        None,
    ),
    "anthropic console": (
        "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
        "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
        "usage_output_tokens,web_search_count\n"
        "2025-11-24,gpt-x,k,Default,standard,≤ 200k,100,20,30,40,50,0\n",
        Usage(100, 40, 20, 50, 0, 30),
        None,
        None,
    ),
    "anthropic messages": (
        "date,model,input_tokens,cache_read_input_tokens,cache_creation_input_tokens,output_tokens\n"
        "2025-11-24,gpt-x,100,40,20,50\n",
        Usage(100, 40, 20, 50),
        None,
        None,
    ),
    "openrouter activity": (
        "date,model,model_permaslug,provider_name,usage,requests,prompt_tokens,completion_tokens,reasoning_tokens\n"
        "2025-11-24,gpt-x,gpt-x-2025,P,0.015,5,50,125,25\n",
        Usage(50, 0, 0, 125, 25),
        Decimal(15_000_000),
        5,
    ),
    "openrouter generations": (
        "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,model_permaslug\n"
        "gen-1,2025-11-24 00:00:00.5,0.0000015,10,25,gpt-x\n",
        Usage(10, 0, 0, 25),
        Decimal(1_500),
        None,
    ),
    "deepseek amounts": (
        "user_id,utc_date,model,api_key_name,type,price,amount\nu,2025-11-24,gpt-x,k,output_tokens,0.00000219,1000\n",
        Usage(output_tokens=1000),
        Decimal(2_190_000),
        None,
    ),
    "deepseek costs": (
        "user_id,utc_date,model,wallet_type,cost,currency\nu,2025-11-24,gpt-x,w,0.5,USD\n",
        None,
        Decimal(500_000_000),
        None,
    ),
    "plain": (
        '\ufeffDay,Model,Prompt,Cached,Output,Cost\n2025-11-24,gpt-x,"1,000",400,50,$0.30\n',
        Usage(600, 400, 0, 50),
        Decimal(300_000_000),
        None,
    ),
}


@pytest.mark.parametrize("name", list(EXPORTS))
def test_exports_of_hosts_are_read_without_being_told(name: str) -> None:
    """Cached tokens are inside the prompt or beside it, as each host has it; missing costs are not zero."""
    text, usage, cost_nusd, requests = EXPORTS[name]
    found = line(text)
    assert (found.usage, found.cost_nusd, found.requests) == (usage, cost_nusd, requests)
    assert found.day == date(2025, 11, 24) or found.at_ns in (
        1_763_942_400 * 10**9,
        1_763_942_400_500_000_000,
    )
    assert (found.model or found.text).startswith("gpt-x")


def test_a_column_of_another_name_is_named_by_the_user() -> None:
    """Against the guess, too: `--column cost=charged`."""
    text = "date,model,cost,charged\n2025-11-24,m,9,0.25\n"
    assert line(text, cost="charged").cost_nusd == 250_000_000


def test_the_decimals_of_the_invoice_are_the_step_of_its_amounts() -> None:
    """The finest of all lines: a host that writes 0.5 writes 0.50."""
    assert read("date,cost\n2025-11-24,0.5\n2025-11-25,0.25\n").step_nusd == 10_000_000
    assert read("date,output_tokens\n2025-11-24,5\n").step_nusd == 1


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("date,cost\n24.11.2025,1\n", {}, "line 2: '24.11.2025' is neither a day"),
        ("date,cost\n2025-11-24,1\n2025-11-25,one\n", {}, "line 3: cost is 'one': expected a number"),
        ("date,output_tokens\n2025-11-24,1.5\n", {}, "line 2: output is '1.5': expected a whole number"),
        ("date,cost\n2025-11-24,NaN\n", {}, "expected a finite number"),
        ("date,cost,currency\n2025-11-24,1,CNY\n", {}, "the currency is CNY: expected USD"),
        ("when,paid\n2025-11-24,1\n", {}, "the columns are when, paid: expected one with the day"),
        ("date,cost\n", {"cost": "paid"}, "there is no column 'paid'; there are date, cost"),
        ("date,cost\n", {"price_paid": "cost"}, "'price_paid' is no meaning of a column"),
        ("", {}, "the columns are none"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, columns: dict[str, str], message: str) -> None:
    """Nothing is skipped in silence: a line that is left out would be a difference."""
    with pytest.raises(ValueError, match=message):
        read(text, **columns)
