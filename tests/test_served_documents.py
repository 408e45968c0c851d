"""The function reads contract and manifest without pydantic: what it takes from them is what their own readers take."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import small_model
import test_several_scores
from eventscore.contract import AnyContract, parse_contract
from eventscore.errors import ContractInvalid, ManifestInvalid
from eventscore.manifest import parse_manifest
from eventscore.served_contract import parse_served_contract
from eventscore.served_manifest import parse_served_manifest

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = {
    "small": small_model.CONTRACT_TOML,
    "classes": test_several_scores.CLASSES,
    "labels": test_several_scores.LABELS,
    "rule": f"{test_several_scores.CLASSES}[fallback]\nscores = {{3 = 0.2, card = 0.5, cash = 0.3}}\n",
    "rule of a band": test_several_scores.TOML.format(task="binary", label='field = "x"')
    + '[fallback]\ndecision = "sure"\n',
    **{str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("model_store/**/contract.toml")},
}


def as_read(contract: AnyContract) -> dict[str, Any]:
    """What decodes, builds columns, scores and decides reads of a contract."""
    event, label, rule = contract.event, contract.label, contract.fallback
    names = ("type", "missing", "min", "max", "values", "max_length", "unseen")
    return {
        "model": (contract.model.name, contract.model.task),
        "event": (event.id, event.time, event.rollout_key, event.max_bytes, event.extra_fields),
        "features": [
            (name, {key: getattr(feature, key) for key in names if hasattr(feature, key)})
            for name, feature in contract.features.items()
        ],
        "decisions": [(decision.name, decision.start) for decision in contract.decisions],
        "label": label and (label.field, label.fields, label.positive, label.classes, label.threshold),
        "fallback": rule and (rule.score, rule.decision, rule.scores),
        "derived": (
            contract.outputs,
            contract.label_fields,
            contract.own_rollout_key,
            contract.numbers,
            contract.categories,
        ),
    }


@pytest.mark.parametrize("toml", CONTRACTS.values(), ids=CONTRACTS)
def test_both_readers_of_a_contract_read_the_same(toml: str) -> None:
    assert as_read(parse_served_contract(toml.encode(), "c")) == as_read(parse_contract(toml.encode(), "c"))


def values() -> st.SearchStrategy[str]:
    """Values of TOML, right and wrong ones."""
    return st.sampled_from(
        [
            *(
                '"x"',
                '""',
                '"refuse"',
                '"own"',
                '"median"',
                '"shared"',
                '"ignore"',
                '"category"',
                '"number"',
                '"9lives"',
            ),
            *("0", "1", "2", "-1", "0.5", "0.0", "1e39", "nan", "true", "[]", '["a", "b"]', '["a"]', "[1, 2]", "{}"),
            *("6000001", "70000"),
        ]
    )


def edited(toml: str, draw: st.DataObject) -> str:
    """The contract with the value of one line changed, the line left out, or a key put behind it."""
    lines = toml.splitlines()
    places = [place for place, line in enumerate(lines) if " = " in line]
    place = draw.draw(st.sampled_from(places))
    key = lines[place].partition(" = ")[0]
    change = draw.draw(st.sampled_from(["value", "leave out", "add"]))
    if change == "value":
        lines[place] = f"{key} = {draw.draw(values())}"
    elif change == "leave out":
        del lines[place]
    else:
        added = draw.draw(
            st.sampled_from(["unit", "min", "max", "missing", "unseen", "threshold", "surprise", "time", "score"])
        )
        lines.insert(place + 1, f"{added} = {draw.draw(values())}")
    return "\n".join(lines) + "\n"


@given(st.sampled_from(sorted(CONTRACTS)[-5:]), st.data())
def test_what_the_author_may_write_the_function_reads_the_same(name: str, data: st.DataObject) -> None:
    toml = edited(CONTRACTS[name], data)
    try:
        by_author = parse_contract(toml.encode(), "c")
    except ContractInvalid:
        # What no author may write no version holds; the function refuses what one key alone tells, and what would answer events wrongly.
        try:
            tomllib.loads(toml)
        except tomllib.TOMLDecodeError:
            with pytest.raises(ContractInvalid):
                parse_served_contract(toml.encode(), "c")
        return
    assert as_read(parse_served_contract(toml.encode(), "c")) == as_read(by_author)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 1", "format = 2"),
        ("format = 1", "surprise = 1"),
        ("max_bytes = 2000", 'max_bytes = "2000"'),
        ("max_bytes = 2000", "max_bytes = 6_000_001"),
        ('type = "boolean"', 'type = "date"'),
        ("max_length = 12", "max_width = 12"),
        ('missing = "own"', 'missing = "median"'),
        ("min = -100", "min = -inf"),
        ('field = "fraud"', 'field = "no field"'),
        ("from = 0.9", "form = 0.9"),
        ('id = "order"', ""),
        ("[[decisions]]", "[fallback]\nscroe = 0.5\n[[decisions]]"),
        ("[[decisions]]", '[fallback]\nscores = {a = "b"}\n[[decisions]]'),
        ("from = 0.9", "from = -0.5"),
        ("from = 0.9", "from = 0.0"),
        ('name = "decline"', 'name = "accept"'),
        ("max = 100\n", "max = -100\n"),
        ('values = ["web", "shop"]\n', ""),
        ('time = "at"', 'time = "order"'),
        ('id = "order"', 'id = "amount"'),
        ('rollout_key = "customer"', 'rollout_key = "at"'),
        ('task = "binary"', 'task = "multiclass"'),
    ],
)
def test_a_contract_that_the_function_half_understands_is_refused(old: str, new: str) -> None:
    assert old in small_model.CONTRACT_TOML
    toml = small_model.CONTRACT_TOML.replace(old, new, 1).encode()
    for read in (parse_contract, parse_served_contract):
        with pytest.raises(ContractInvalid):
            read(toml, "c")


MANIFEST = small_model.manifest("v1", small_model.files()).to_bytes()
PATHS = [
    *(("format",), ("model",), ("version",), ("task",), ("created_at",), ("opset",), ("files",), ("golden",)),
    *(("files", "model.onnx"), ("files", "model.onnx", "sha256"), ("files", "golden.jsonl", "size_bytes")),
    *(("golden", "tolerance"), ("golden", "events"), ("metrics", "int8", "roc_auc"), ("provenance",)),
    *(("provenance", "tables"), ("provenance", "commit"), ("provenance", "seed"), ("provenance", "configuration")),
]
WRONG = st.sampled_from(
    [None, "", "x", "../x", "a" * 64, 0, 1, -1, 2, 0.4, 0.5, [], {}, {"a": {"sha256": "0" * 64, "size_bytes": 1}}]
)


@settings(max_examples=300)
@given(st.sampled_from(PATHS), st.sampled_from(["change", "leave out", "add"]), WRONG)
def test_both_readers_of_a_manifest_take_the_same_and_refuse_the_same(
    path: tuple[str, ...], change: str, value: Any
) -> None:
    # pydantic takes a number of seconds for a time, too, which no version was ever written with.
    assume(not (path == ("created_at",) and change == "change"))
    document = json.loads(MANIFEST)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    if change == "change":
        inner[path[-1]] = value
    elif change == "leave out":
        del inner[path[-1]]
    else:
        inner["surprise"] = value
    raw = json.dumps(document).encode()
    read = []
    for parse in (parse_manifest, parse_served_manifest):
        try:
            manifest = parse(raw, "key", model="small", version="v1")
        except ManifestInvalid:
            read.append(None)
        else:
            files = {name: (entry.sha256, entry.size_bytes) for name, entry in manifest.files.items()}
            read.append((manifest.task, files, manifest.golden.tolerance, manifest.golden.events))
    assert read[0] == read[1]


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("model_store/*/versions/*/manifest.json")), ids=lambda path: path.parent.name
)
def test_every_version_that_was_ever_committed_stays_readable(path: Path) -> None:
    identity = {"model": path.parents[2].name, "version": path.parent.name}
    read, served = (parse(path.read_bytes(), "key", **identity) for parse in (parse_manifest, parse_served_manifest))
    assert served.files.keys() == read.files.keys()
    assert served.created_at == read.created_at
