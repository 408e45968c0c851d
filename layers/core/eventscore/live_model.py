"""The model that answers: loaded from its channel when first asked for, and replaced when the channel moves and the new version is ready.

What answers is one reference. A batch takes it once and finishes on it; a new version is loaded aside, verified, has scored its
golden events (which warms it), and only then the reference is replaced. Whatever goes wrong before, the old one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from eventscore.errors import NoSuchChannel, StoreError
from eventscore.model_news import ModelNews, NotWatched, RuleAnswers, VersionLoaded, VersionNotLoaded
from eventscore.retry_schedule import RetrySchedule
from eventscore.scorer import Scorer, VersionScorer
from eventscore.stopwatch import Stopwatch
from eventscore.store.versions import LIVE, PREVIOUS, Channels
from eventscore.version_source import VersionSource

if TYPE_CHECKING:
    from eventscore.artifact import Artifact
    from eventscore.contract import AnyContract
    from eventscore.drift_watch import DriftWatch
    from eventscore.fallback import FallbackRule

LOOK_CAP_S: Final = 300.0
"""The pointer is looked at this often at least, however long the store has been away."""
LOAD_CAP_S: Final = 900.0
"""A version that was refused is tried again this often at least: somebody may repair it where it lies. So is a missing baseline."""
BASELINE_RETRY_S: Final = 60.0
RULE_RETRY_S, RULE_CAP_S = 5.0, 60.0
"""While the fallback rule answers there is more to gain: how soon and how seldom a version is looked for."""
_QUIET_INTERRUPTIONS: Final = 2


class LiveModel:
    """Follows one channel of one model.

    ``get`` belongs to the invocation, ``refresh`` may run beside it, one at a time. ``refresh_s`` is how often the pointer is looked
    at (0: never, once the channel's version answers); ``clock`` answers seconds of wall time, because the monotonic clock of a
    frozen environment may stand still; ``deployed_contract`` is what to fall back on where the store does not answer; ``watched`` is given
    who counts what a version scores, None where nobody shall.
    """

    def __init__(
        self,
        source: VersionSource,
        channel: str,
        *,
        refresh_s: float,
        clock: Callable[[], float],
        tell: Callable[[ModelNews], None],
        deployed_contract: Callable[[], tuple[AnyContract, str] | None] = lambda: None,
        watched: Callable[[DriftWatch], None] | None = None,
    ) -> None:
        self._source = source
        self._channel = channel
        self._refresh_s = refresh_s
        self._clock = clock
        self._tell = tell
        self._deployed_contract = deployed_contract
        self._serving: VersionScorer | FallbackRule | None = None
        self._channels: Channels | None = None
        self._interruptions = 0
        self._watched = watched
        self._unwatched: VersionScorer | None = None
        self._baseline = RetrySchedule(BASELINE_RETRY_S, LOAD_CAP_S)
        self._schedules(LOOK_CAP_S, LOAD_CAP_S, refresh_s or LOOK_CAP_S)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._source.model

    @property
    def serving(self) -> Scorer | None:
        """Who answers now; None where nobody was loaded yet."""
        return self._serving

    @property
    def memory_bytes(self) -> int:
        """What the version that answers is reckoned to hold."""
        serving = self._serving
        return serving.memory_bytes if serving else 0

    def get(self, watch: Stopwatch | None = None) -> Scorer:
        """Who answers: the channel's version, or on a cold start without it ``previous``, or the contract's fallback rule.

        Raises:
            EventscoreError: none of them can be had. Nothing unverified ever answers; the next call tries again.

        """
        return self._serving or self._begin(watch or Stopwatch())

    def prepare(self) -> None:
        """Begin to pull what ``get`` will load, where nothing is loaded; heavy imports can go on beside it."""
        if self._serving is None:
            self._source.begin(self._channel)

    def release(self) -> None:
        """Let go of the version; the next ``get`` loads again."""
        released, self._serving, self._unwatched = self._serving, None, None
        _watch_ends(released)

    def due(self) -> bool:
        """Whether there is something for ``refresh`` to do."""
        if self._serving is None:
            return False
        now = self._clock()
        if self._unwatched is not None and self._baseline.due(now):
            return True
        return (self._looks() and self._look.due(now)) or (self._behind() and self._load.due(now))

    def look_at_once(self) -> None:
        """Make ``refresh`` due: time has passed that no clock here has seen."""
        self._look.at_once()

    def refresh(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Look at the pointer if that is due, and replace the version if another is wanted. Never raises.

        ``interrupted`` tells whether the environment was frozen meanwhile: a request that failed for this says nothing about the store.
        """
        if self._serving is None:
            return
        if self._looks() and self._look.due(self._clock()):
            self._look_at_pointer(interrupted)
        if self._behind() and self._load.due(self._clock()):
            self._catch_up(interrupted)
        if self._unwatched is not None and self._baseline.due(self._clock()):
            self._begin_watch(self._unwatched)

    def _begin_watch(self, scorer: VersionScorer) -> None:
        try:
            watch = self._source.watch(scorer.artifact, self._clock())
        except Exception as error:
            self._baseline.failed(self._clock())
            passes = isinstance(error, StoreError)  # a file that is not right stays so
            self._unwatched = scorer if passes else None
            self._tell(NotWatched(self.model, scorer.version, error, self._baseline.wait_s if passes else None))
            return
        self._unwatched = None
        if watch is not None and self._watched is not None:
            scorer.watch = watch
            self._watched(watch)
            if self._serving is not scorer:  # it was let go while its baseline was on its way
                watch.is_over = True

    def _schedules(self, look_cap_s: float, load_cap_s: float, interval_s: float) -> None:
        self._look = RetrySchedule(interval_s, look_cap_s)
        self._load = RetrySchedule(interval_s, load_cap_s)

    def _looks(self) -> bool:
        """Whether the pointer is looked at: always but where the settings say never and a version answers."""
        serving = self._serving
        return self._refresh_s > 0 or (serving is not None and serving.is_rule)

    def _wanted(self) -> str | None:
        return self._channels.versions.get(self._channel) if self._channels else None

    def _behind(self) -> bool:
        wanted, serving = self._wanted(), self._serving
        return wanted is not None and serving is not None and (serving.is_rule or serving.version != wanted)

    def _candidates(self) -> Iterator[str]:
        """The versions to try where none answers: the channel's, and the one that was live before."""
        versions = self._channels.versions if self._channels else {}
        wanted = versions.get(self._channel)
        if wanted is not None:
            yield wanted
        if self._channel == LIVE and versions.get(PREVIOUS) not in (None, wanted):
            yield versions[PREVIOUS]

    def _begin(self, watch: Stopwatch) -> Scorer:
        """Find somebody to answer, where nobody does."""
        first: Exception | None = None
        self.prepare()
        try:
            self._channels = self._source.channels(watch)
            self._look.succeeded(self._clock())
            if self._wanted() is None:
                raise NoSuchChannel(self.model, self._channel, tuple(self._channels.versions))
        except Exception as error:
            first = error
            self._failed(None, error, self._look)
        for version in self._candidates():
            try:
                artifact = self._source.load(version, watch)
            except Exception as error:
                first = first or error
                self._failed(version, error, self._load)
            else:
                return self._serve(artifact, watch)
        rule = self._rule()
        if rule is None:
            raise first or NoSuchChannel(self.model, self._channel, ())
        self._schedules(RULE_CAP_S, RULE_CAP_S, RULE_RETRY_S)
        now = self._clock()
        self._look.failed(now)
        self._load.failed(now)
        self._serving = rule
        self._tell(RuleAnswers(self.model, rule.origin))
        return rule

    def _rule(self) -> FallbackRule | None:
        """The fallback rule of the newest contract that can be trusted; that of the deployment only where the store has none."""
        from eventscore.fallback import FallbackRule  # seldom needed

        for version in self._candidates():
            try:
                contract = self._source.contract(version)
                return FallbackRule(contract, f"version {version}") if contract.fallback else None
            except Exception:  # noqa: S112  # told already: the version was refused
                continue
        try:
            deployed = self._deployed_contract()
            return FallbackRule(*deployed) if deployed is not None and deployed[0].fallback else None
        except Exception as error:
            self._tell(VersionNotLoaded(self.model, None, error, None, None))
            return None

    def _serve(self, artifact: Artifact, watch: Stopwatch) -> Scorer:
        replaced = self._serving
        serving = VersionScorer(artifact)
        now = self._clock()
        if replaced is not None and replaced.is_rule:
            self._schedules(LOOK_CAP_S, LOAD_CAP_S, self._refresh_s or LOOK_CAP_S)
            self._look.succeeded(now)
            self._load.failed(now)  # it was, where this is the version before
        if artifact.version == self._wanted():
            self._load.succeeded(now)
        self._serving = serving
        # Behind that, and not before: whoever sees that a watch is over takes what it has for the last time.
        _watch_ends(replaced)
        if self._watched is not None:
            self._unwatched = serving
            self._baseline.at_once()
        old = replaced.version if replaced else None
        self._tell(VersionLoaded(self.model, artifact.version, artifact.signed_by, dict(watch.parts_ms), old))
        return serving

    def _look_at_pointer(self, interrupted: Callable[[], bool]) -> None:
        before = self._wanted()
        try:
            if self._channels is None:
                changed: Channels | None = self._source.channels(Stopwatch())
            else:
                changed = self._source.changed_channels(self._channels)
        except Exception as error:
            if not self._excused(interrupted):
                self._failed(None, error, self._look)
            return
        self._interruptions = 0
        self._look.succeeded(self._clock())
        if changed is None:
            return
        self._channels = changed
        wanted = self._wanted()
        if wanted is None:
            nowhere = NoSuchChannel(self.model, self._channel, tuple(changed.versions))
            self._tell(VersionNotLoaded(self.model, None, nowhere, self._name(), self._look.wait_s))
        elif wanted != before:
            self._load.at_once()

    def _catch_up(self, interrupted: Callable[[], bool]) -> None:
        wanted, serving = self._wanted(), self._serving
        on_rule = serving is not None and serving.is_rule
        for version in [*self._candidates()] if on_rule else [wanted or ""]:
            watch = Stopwatch()
            try:
                artifact = self._source.load(version, watch)
            except Exception as error:
                if self._excused(interrupted):
                    return
                self._failed(version, error, self._load)
            else:
                self._interruptions = 0
                self._serve(artifact, watch)
                return

    def _failed(self, version: str | None, error: Exception, schedule: RetrySchedule) -> None:
        schedule.failed(self._clock())
        retry_in_s = schedule.wait_s if self._serving is not None else None
        self._tell(VersionNotLoaded(self.model, version, error, self._name(), retry_in_s))

    def _excused(self, interrupted: Callable[[], bool]) -> bool:
        """Whether a failure is put down to the freeze: not for ever, or a store that never answers in time would never be told of."""
        if interrupted() and self._interruptions < _QUIET_INTERRUPTIONS:
            self._interruptions += 1
            return True
        self._interruptions = 0
        return False

    def _name(self) -> str | None:
        return self._serving.version if self._serving else None


def _watch_ends(scorer: Scorer | None) -> None:
    if isinstance(scorer, VersionScorer) and scorer.watch is not None:
        scorer.watch.is_over = True
