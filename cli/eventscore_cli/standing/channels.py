"""Which version each channel of a model points at, how old it is, who signed it, and how good it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from eventscore.errors import ArtifactRefused
from eventscore.signing import Verifier
from eventscore.store.objects import ObjectStore
from eventscore.store.versions import ModelVersions
from eventscore_cli.signed_manifest import read_signed_manifest


@dataclass(frozen=True)
class ChannelState:
    """``refused`` says why the function would not load the version; then nothing else of it is believed."""

    model: str
    channel: str
    version: str
    made: datetime | None
    age_days: float | None
    signed_by: str | None
    metrics: Mapping[str, float]
    refused: str | None


def channel_states(
    store: ObjectStore, models: tuple[str, ...], trusted: Verifier, now: datetime
) -> tuple[ChannelState, ...]:
    """The channels of all models, as they stand in ``channels.json``."""
    states = []
    for model in models:
        versions = ModelVersions(store, model)
        for channel, version in versions.channels().versions.items():
            try:
                manifest, signed_by = read_signed_manifest(versions, version, trusted)
            except ArtifactRefused as error:
                states.append(ChannelState(model, channel, version, None, None, None, {}, str(error)))
                continue
            made = manifest.created_at
            age_days = max(0.0, (now - made).total_seconds() / 86400)
            metrics = manifest.metrics.get("int8", {})
            states.append(ChannelState(model, channel, version, made, age_days, signed_by, metrics, None))
    return tuple(states)
