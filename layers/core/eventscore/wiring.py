"""What the settings name, put together: stores, models, sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from eventscore.errors import ContractInvalid, SettingsInvalid
from eventscore.live_model import LiveModel
from eventscore.model_cache import ModelCache
from eventscore.model_news import ModelNews
from eventscore.settings import REJECT_QUEUE_URL, SINK, Settings
from eventscore.signing import Ed25519Verifier
from eventscore.store.location import open_store_to_read
from eventscore.store.versions import ModelVersions
from eventscore.telemetry import Telemetry, UnderWay
from eventscore.version_source import VersionSource

if TYPE_CHECKING:
    from eventscore.drift_watch import DriftWatch
    from eventscore.served_contract import ServedContract
    from eventscore.service import ScoringService
    from eventscore.tracing import Tracing


def model_cache(
    settings: Settings,
    clock: Callable[[], float],
    tell: Callable[[ModelNews], None],
    watched: Callable[[DriftWatch], None],
) -> ModelCache:
    """The models of the settings, none loaded yet. Nothing is opened before the first is asked for."""
    store = cache(partial(open_store_to_read, settings.store))
    verifier = Ed25519Verifier(settings.trusted_keys)

    def live_model(model: str) -> LiveModel:
        return LiveModel(
            VersionSource(model, lambda: ModelVersions(store(), model, settings.max_file_bytes), verifier),
            settings.channel,
            refresh_s=settings.refresh_s,
            clock=clock,
            tell=tell,
            deployed_contract=lambda: _deployed_contract(settings, model),
            watched=watched if settings.sketch_s else None,
        )

    return ModelCache(live_model, settings.model_memory_bytes)


def telemetry_by_model(environment: Mapping[str, str], under_way: UnderWay) -> Callable[[str], Telemetry]:
    """Who tells of a model, by its name."""
    return cache(lambda model: Telemetry(model, environment, under_way))


def tracing(environment: Mapping[str, str]) -> Tracing | None:
    """Who tells X-Ray; None where nobody listens or nobody wants it. Raises ``SettingsInvalid``."""
    if not environment.get("AWS_XRAY_DAEMON_ADDRESS"):
        return None
    from eventscore.tracing import tracing_of  # only where there is a daemon

    return tracing_of(environment)


def scoring_service(settings: Settings) -> ScoringService | None:
    """The sink and the reject queue; None where the settings name neither. Raises ``SettingsInvalid``."""
    if settings.sink is None and settings.reject_queue_url is None:
        return None
    if settings.sink is None or settings.reject_queue_url is None:
        missing = SINK if settings.sink is None else REJECT_QUEUE_URL
        raise SettingsInvalid(missing, "a sink and a reject queue together, or neither (direct invocations only)", None)
    from eventscore.delivery.open_sinks import open_sinks  # only a function with a sink needs them
    from eventscore.service import ScoringService

    sinks = open_sinks(settings.sink, settings.reject_queue_url, settings.idempotency_table)
    return ScoringService(*sinks, lambda: datetime.now(UTC))


def _deployed_contract(settings: Settings, model: str) -> tuple[ServedContract, str] | None:
    """The model's contract among those that were deployed with the function, and where it lies. Raises ``ContractInvalid``."""
    if settings.fallback_contracts is None:
        return None
    from pathlib import Path  # seldom needed

    from eventscore.fallback_fit import fallback_beside_the_contract
    from eventscore.served_contract import parse_served_contract

    path = Path(settings.fallback_contracts) / model / "contract.toml"
    try:
        contract = parse_served_contract(path.read_bytes(), str(path))
    except OSError as error:
        raise ContractInvalid(str(path), (f"expected a contract file: {error.strerror}",)) from None
    if contract.model.name != model:
        raise ContractInvalid(str(path), (f"expected the contract of {model!r}, got that of {contract.model.name!r}",))
    bands = [(decision.name, decision.start) for decision in contract.decisions]
    task, label = contract.model.task, contract.label
    if problem := fallback_beside_the_contract(contract.fallback, task, contract.outputs, bands, label):
        raise ContractInvalid(str(path), (problem,))
    return contract, str(path)
