"""What others build on: a name that goes, a reason or a variable that is renamed breaks here before it breaks their code."""

from __future__ import annotations

import importlib
import inspect
import re

import msgspec
import pytest

import eventscore_training
from eventscore import errors, settings
from eventscore.scoring import Answer
from eventscore.violations import REASONS
from eventscore_cli.main import cli

SURFACE: dict[str, dict[str, str]] = {
    "eventscore.contract": {
        "load_contract": "(path)",
        "parse_contract": "(raw, origin)",
    },
    "eventscore.json_schema": {
        "producer_schema": "(contract)",
        "example_event": "(contract)",
    },
    "eventscore.decoding": {"EventDecoder": "(contract)"},
    "eventscore.store.location": {"open_store": "(location)"},
    "eventscore.store.versions": {"ModelVersions": "(store, model, max_file_bytes)"},
    "eventscore.signing": {
        "Ed25519Signer": "(private_key)",
        "Ed25519Verifier": "(trusted)",
        "parse_trusted_keys": "(text)",
        "write_new_key": "(path)",
        "key_id": "(raw_public_key)",
    },
    "eventscore.artifact": {"load_artifact": "(versions, version, verifier, watch)"},
    "eventscore.scoring": {"score_messages": "(artifact, messages, now)"},
    "eventscore.function": {
        "ScoreFunction": "(models, router, service, telemetry, news, under_way, sketches, whole_batches)"
    },
    "eventscore_training": {
        "train": "(config, on_progress)",
        "resume": "(folder, on_progress)",
        "load_training_config": "(path, overrides)",
        "load_run": "(folder)",
        "publish": "(run, store, signer, verifier, test)",
    },
}
"""What a program of one's own is written with: load a contract, open a store, load a version, score; train and publish."""


@pytest.mark.parametrize(("module", "names"), SURFACE.items(), ids=SURFACE)
def test_what_programs_are_written_with_keeps_its_name_and_its_arguments(module: str, names: dict[str, str]) -> None:
    found = importlib.import_module(module)
    signatures = {name: f"({', '.join(inspect.signature(getattr(found, name)).parameters)})" for name in names}
    assert signatures == names


def test_every_public_function_and_class_says_what_it_does() -> None:
    for module, names in SURFACE.items():
        for name in names:
            assert inspect.getdoc(getattr(importlib.import_module(module), name)), f"{module}.{name}"


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+)( |$)", line)
        if match:
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            drawn[match[2]] = above[depth - 1] if depth else "Exception"
    real = {
        name: value.__base__.__name__
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__base__
    }
    assert drawn == real


def test_the_training_jobs_surface_is_all_there() -> None:
    assert sorted(eventscore_training.__all__) == list(eventscore_training.__all__)
    assert all(hasattr(eventscore_training, name) for name in eventscore_training.__all__)


def test_the_answer_in_the_sink_has_these_fields_in_this_order() -> None:
    always = ("event_id", "score", "decision", "model", "version", "scored_at")
    assert Answer.__struct_fields__ == (*always, "label", "labels", "scores", "fallback")
    assert tuple(msgspec.json.decode(msgspec.json.encode(Answer("e", 0.5, None, "m", "v", "t")))) == always


def test_the_reasons_for_rejection_keep_their_names() -> None:
    assert set(REASONS) == {
        *("tombstone", "too_large", "wrong_encoding", "not_json", "not_an_object", "duplicate_key", "missing_field"),
        *("unknown_field", "wrong_type", "out_of_bounds", "unknown_value", "unknown_model", "not_finite", "too_nested"),
        *("answer_too_large", "score_not_finite"),
    }


def test_the_environment_variables_keep_their_names() -> None:
    declared = {
        value for name, value in vars(settings).items() if name.isupper() and str(value).startswith("EVENTSCORE_")
    }
    assert declared - {settings.PREFIX} == {
        *("EVENTSCORE_STORE", "EVENTSCORE_MODEL", "EVENTSCORE_CHANNEL", "EVENTSCORE_TRUSTED_KEYS", "EVENTSCORE_SINK"),
        *(
            "EVENTSCORE_REJECT_QUEUE_URL",
            "EVENTSCORE_IDEMPOTENCY_TABLE",
            "EVENTSCORE_SIGNING_KEY",
            "EVENTSCORE_IDEMPOTENCY_TABLE",
            "EVENTSCORE_REFRESH_SECONDS",
            "EVENTSCORE_MAX_FILE_MB",
            "EVENTSCORE_SKETCH_SECONDS",
        ),
        *(
            "EVENTSCORE_MODEL_FIELD",
            "EVENTSCORE_MODEL_SOURCES",
            "EVENTSCORE_MODEL_MEMORY_MB",
            "EVENTSCORE_FALLBACK_CONTRACTS",
            "EVENTSCORE_WHOLE_BATCHES",
        ),
    }


def test_the_commands_keep_their_names() -> None:
    import click

    assert cli.list_commands(click.Context(cli)) == [
        *("init", "contract", "train", "tune", "keys", "publish", "versions", "promote"),
        *("status", "replay", "score", "cost", "demo", "local-stack", "sam-local"),
    ]
