"""What the settings name, put together: stores, models, sinks.

Imported before the pull of the model has begun, so that what is heavy is imported where it is needed.
"""

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
from eventscore.telemetry import Telemetry
from eventscore.version_source import VersionSource

if TYPE_CHECKING:
    from eventscore.served_contract import ServedContract
    from eventscore.service import ScoringService


def model_cache(settings: Settings, clock: Callable[[], float], tell: Callable[[ModelNews], None]) -> ModelCache:
    """The models of the settings, none loaded yet; the pull of the first has begun."""
    store = cache(partial(open_store_to_read, settings.store))
    verifier = Ed25519Verifier(settings.trusted_keys)

    def source(model: str) -> VersionSource:
        return VersionSource(model, lambda: ModelVersions(store(), model, settings.max_file_bytes), verifier)

    first = source(settings.models[0])
    first.begin_pull(settings.channel)
    begun = {first.model: first}

    def live_model(model: str) -> LiveModel:
        return LiveModel(
            begun.pop(model) if model in begun else source(model),
            settings.channel,
            refresh_s=settings.refresh_s,
            clock=clock,
            tell=tell,
            deployed_contract=lambda: _deployed_contract(settings, model),
        )

    return ModelCache(live_model, settings.model_memory_bytes)


def telemetry_by_model(environment: Mapping[str, str]) -> Callable[[str], Telemetry]:
    """Who tells of a model, by its name."""
    return cache(lambda model: Telemetry(model, environment))


def check_queues(settings: Settings) -> None:
    """Raises ``SettingsInvalid`` where the settings name a sink or a reject queue, and not both."""
    if (settings.sink is None) != (settings.reject_queue_url is None):
        missing = SINK if settings.sink is None else REJECT_QUEUE_URL
        raise SettingsInvalid(missing, "a sink and a reject queue together, or neither (direct invocations only)", None)


def scoring_service(settings: Settings) -> ScoringService | None:
    """The sink and the reject queue; None where the settings name neither. Raises ``SettingsInvalid``."""
    if settings.sink is None or settings.reject_queue_url is None:
        return None
    from eventscore.delivery.open_sinks import open_sinks
    from eventscore.service import ScoringService

    sinks = open_sinks(settings.sink, settings.reject_queue_url, settings.idempotency_table)
    return ScoringService(*sinks, lambda: datetime.now(UTC))


def _deployed_contract(settings: Settings, model: str) -> tuple[ServedContract, str] | None:
    """The model's contract among those that were deployed with the function, and where it lies. Raises ``ContractInvalid``.

    Nobody has judged it yet, so it is judged here, by the reader that is made for that.
    """
    if settings.fallback_contracts is None:
        return None
    from pathlib import Path

    from eventscore.contract import load_contract
    from eventscore.served_contract import parse_served_contract

    path = Path(settings.fallback_contracts) / model / "contract.toml"
    contract = load_contract(path)
    if contract.model.name != model:
        raise ContractInvalid(str(path), (f"expected the contract of {model!r}, got that of {contract.model.name!r}",))
    return parse_served_contract(path.read_bytes(), str(path)), str(path)
