"""`eventscore init`: what is drafted from a table trains as it stands, says why, warns of leaks, and refuses in words."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from eventscore.contract import CategoryFeature, NumberFeature, parse_contract
from eventscore_cli.main import main
from eventscore_training import DraftImpossible, TableInvalid
from eventscore_training.config import load_training_config
from eventscore_training.draft import Draft, draft

ROWS = 600


def orders(rows: int = ROWS) -> pl.DataFrame:
    """Orders, latest last: what is known when one is placed, what only comes later, and what nobody should learn from."""
    luck = random.Random(3)
    table: list[dict[str, Any]] = []
    for number in range(rows):
        amount, country = round(luck.uniform(1, 900), 2), luck.choice(["FR", "DE", "US"])
        fraud = luck.random() < 0.1 + 0.6 * (amount > 500)
        table.append(
            {
                "order_id": f"o-{luck.randrange(10**9)}-{number}",
                "placed_at": f"2026-01-{1 + number * 28 // rows:02} {number % 24:02}:00:00",
                "amount": amount,
                "balance": None if luck.random() < 0.3 else round(luck.uniform(-50, 50), 1),
                "country": country,
                "shop": f"shop-{luck.randrange(40)}",
                "is_new": luck.random() < 0.5,
                "zip": f"0{luck.randrange(1000, 1040)}",
                "row_number": number,
                "currency": "EUR",
                "refunded": amount if fraud else 0.0,
                "chargeback_code": luck.choice(["A", "B"]) if fraud else None,
                "closed_at": f"2026-03-{1 + number * 28 // rows:02} 00:00:00",
                "note": f"please leave parcel {number} at door {luck.random()}",
                "fraud": fraud,
            }
        )
    return pl.DataFrame(table)


Drafted = Callable[..., Draft]


@pytest.fixture
def drafted(tmp_path: Path) -> Drafted:
    """Draft from a frame that is written as a CSV file (or Parquet)."""

    def call(frame: pl.DataFrame, suffix: str = ".csv", **changes: str) -> Draft:
        file = tmp_path / f"orders{suffix}"
        frame.write_csv(file) if suffix == ".csv" else frame.write_parquet(file)
        named = {"label": "fraud", "event_id": "order_id", "time": "placed_at", **changes}
        return draft(file, folder=tmp_path, **named)  # type: ignore[arg-type]

    return call


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_each_column_becomes_what_it_is_or_is_left_out_for_a_reason(drafted: Drafted, suffix: str) -> None:
    result = drafted(orders(), suffix)
    contract = parse_contract(result.contract.encode(), "draft")
    assert {name: feature.type for name, feature in contract.features.items()} == {
        "amount": "number",
        "balance": "number",
        "country": "category",
        "shop": "category",
        "is_new": "boolean",
        "zip": "category",
    }
    amount, country, shop = (contract.features[name] for name in ("amount", "country", "shop"))
    assert isinstance(amount, NumberFeature)
    assert isinstance(country, CategoryFeature)
    assert isinstance(shop, CategoryFeature)
    assert amount.min == 0
    assert 1500 < amount.max < 2000
    assert (amount.missing, contract.features["balance"].missing) == ("refuse", "median")
    assert country.values == ("DE", "FR", "US")
    assert (shop.values, shop.unseen, shop.max_length) == (None, "shared", 16)
    assert contract.label is not None
    assert contract.label.positive is True
    assert [decision.name for decision in contract.decisions] == ["low", "medium", "high"]
    assert contract.gates.min_roc_auc is not None
    assert 0.5 < contract.gates.min_roc_auc < 0.8


def test_every_likely_leak_has_its_warning(drafted: Drafted) -> None:
    warnings = "\n".join(drafted(orders()).warnings)
    assert "refunded is left out: likely a leak: alone it tells the label (ROC-AUC 1.000)" in warnings
    assert "chargeback_code is left out: likely a leak: it is null exactly when the label is negative" in warnings
    assert "closed_at is left out: a time, in 100% of its rows after the event's: likely a leak" in warnings
    assert "row_number is left out: like an id: 600 different whole numbers in 600 rows" in warnings
    assert "note is left out: like an id or free text" in warnings
    assert "currency is left out: every row that has it says 'EUR': nothing to learn" in warnings
    assert "amount" not in warnings


def test_a_column_that_nearly_tells_the_label_stays_with_a_warning(drafted: Drafted) -> None:
    luck = random.Random(1)
    frame = orders().with_columns(
        pl.col("fraud").map_elements(lambda fraud: fraud != (luck.random() < 0.06), pl.Boolean).alias("hint")
    )
    result = drafted(frame)
    assert "hint" in parse_contract(result.contract.encode(), "draft").features
    assert any(warning.startswith("hint: alone it tells much of the label (ROC-AUC 0.9") for warning in result.warnings)


def test_gaps_that_are_there_only_for_one_class_are_a_leak(drafted: Drafted) -> None:
    part = pl.when(pl.col("fraud") & (pl.int_range(pl.len()) % 3 == 0)).then(pl.col("amount"))
    warnings = drafted(orders().with_columns(part.alias("recovered"))).warnings
    assert "recovered is left out: likely a leak: it is there only in rows whose label is positive" in warnings


def test_values_by_the_million_are_kept_with_room_and_a_warning(
    drafted: Drafted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventscore_training.draft.LARGE_VOCABULARY", 100)
    frame = orders().with_columns(
        (pl.lit("customer-") + (pl.int_range(pl.len()) * 7 % 300).cast(pl.String)).alias("customer")
    )
    result = drafted(frame)
    customer = parse_contract(result.contract.encode(), "draft").features["customer"]
    assert isinstance(customer, CategoryFeature)
    assert (customer.values, customer.unseen, customer.max_length) == (None, "shared", 32)
    assert any(
        warning.startswith("customer: 300 values; only those that occur often enough") for warning in result.warnings
    )


def test_a_name_that_no_contract_can_have_is_left_out(drafted: Drafted) -> None:
    result = drafted(orders().with_columns(pl.col("amount").alias("per cent")))
    assert any("its name is no field name" in warning for warning in result.warnings)
    assert "# - per cent: its name" in result.contract


@pytest.mark.parametrize(
    ("labels", "positive"),
    [(("0", "1"), 1), (("no", "yes"), "yes"), (("bad", "good"), "bad"), (("0.0", "1.0"), "1.0")],
    ids=str,
)
def test_the_positive_value_is_the_word_for_it_or_the_rarer(
    drafted: Drafted, labels: tuple[str, str], positive: object
) -> None:
    # Of bad and good, bad is the rarer.
    rare = pl.lit(labels[0] if labels[0] == "bad" else labels[1])
    common = pl.lit(labels[1] if labels[0] == "bad" else labels[0])
    frame = orders().with_columns(pl.when(pl.col("fraud")).then(rare).otherwise(common))
    frame = frame.drop("literal").with_columns(frame["literal"].alias("fraud"))
    contract = parse_contract(drafted(frame).contract.encode(), "draft")
    assert contract.label is not None
    assert contract.label.positive == positive


def edited(**columns: pl.Expr) -> pl.DataFrame:
    return orders().with_columns(**columns)


@pytest.mark.parametrize(
    ("frame", "changes", "said"),
    [
        (orders(), {"label": "late"}, "--label: there is no column 'late'; there are order_id, placed_at"),
        (orders(), {"event_id": "fraud"}, "column 'fraud' is named more than once"),
        (orders().head(0), {}, "the table has no rows"),
        (edited(fraud=pl.lit(False)), {}, "label 'fraud': expected two classes, got 1: False"),
        (edited(fraud=pl.int_range(pl.len()) % 3), {"task": "binary"}, "expected two classes, got 3: '0', '1', '2'"),
        (edited(fraud=pl.when(pl.col("amount") > 20).then("fraud")), {}, "rows have none, first row"),
        (edited(order_id=pl.int_range(pl.len()) % 599), {}, "2 of 600 rows share theirs with another, such as '0' in rows 1, 600"),
        (edited(order_id=pl.lit(None, pl.String)), {}, "id 'order_id': 600 rows have none"),
        (edited(amount=pl.lit("inf")), {}, "column 'amount': 600 of 600 rows hold an infinite number (first row 1: inf)"),
        (
            edited(amount=pl.when(pl.int_range(pl.len()) < 590).then(pl.col("amount").cast(pl.String)).otherwise(pl.lit("N/A"))),
            {},
            "column 'amount': numbers, and 10 of 600 rows say 'N/A' (first row 591); a gap is an empty field",
        ),
        (edited(placed_at=pl.lit("yesterday")), {}, "600 of 600 rows hold no time, first row 1: 'yesterday'"),
        (orders().select("order_id", "placed_at", "fraud"), {}, "no column is left to learn from"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_drafted_says_why(
    drafted: Drafted, frame: pl.DataFrame, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(DraftImpossible) as refused:
        drafted(frame, **changes)
    assert said in str(refused.value)


def test_a_column_that_changes_its_type_half_way_becomes_a_category_with_a_warning(drafted: Drafted) -> None:
    half = pl.when(pl.int_range(pl.len()) < 400).then(pl.col("row_number") % 50).otherwise(pl.lit("many"))
    result = drafted(orders().with_columns(half.cast(pl.String).alias("count")))
    assert parse_contract(result.contract.encode(), "draft").features["count"].type == "category"
    assert any("count: 67% of its values are numbers, and others are not, such as 'many'" in w for w in result.warnings)


def test_a_part_without_positives_is_told_before_anything_is_trained(drafted: Drafted) -> None:
    early = edited(fraud=pl.col("fraud") & (pl.int_range(pl.len()) < 300))
    with pytest.raises(TableInvalid, match="validation part"):
        drafted(early)


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(str(ended.value.code))


def test_the_command_writes_both_files_and_never_over_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders().write_csv(tmp_path / "Late Orders.csv")
    named = ("--label", "fraud", "--id", "order_id", "--time", "placed_at", "--output", tmp_path / "job")
    assert call("init", tmp_path / "Late Orders.csv", *named) == 0
    told = capsys.readouterr()
    assert "6 features from 600 rows" in told.out
    assert "warning: refunded is left out: likely a leak" in told.err
    config = load_training_config(tmp_path / "job" / "training.toml")
    assert config.table == tmp_path / "Late Orders.csv"
    assert config.contract == tmp_path / "job" / "contract.toml"
    assert tomllib.loads(config.contract.read_text())["model"]["name"] == "late-orders"
    assert call("init", tmp_path / "Late Orders.csv", *named) == 1
    assert "never written over" in capsys.readouterr().err
    assert call("init", tmp_path / "none.csv", *named[:-1], tmp_path / "other") == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.training
def test_the_draft_trains_as_it_stands(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from eventscore_training import train

    orders(1500).write_parquet(tmp_path / "orders.parquet")
    result = draft(tmp_path / "orders.parquet", "fraud", "order_id", "placed_at", tmp_path)
    (tmp_path / "contract.toml").write_text(result.contract)
    (tmp_path / "training.toml").write_text(result.training)
    trained = train(load_training_config(tmp_path / "training.toml", {"runs": tmp_path / "runs"}))
    assert trained.metrics["roc_auc"] > 0.7
    assert all(gate.passed for gate in trained.report.gates), trained.report.gates
    for line in (trained.folder / "golden.jsonl").read_text().splitlines():
        assert '+00:00"' in line  # the table's times have no offset, an event's must
