"""The model that answers: it follows its channel, and whatever goes wrong with a new version, the old one goes on."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_model
from eventscore.artifact import Artifact
from eventscore.contract import Contract, parse_contract
from eventscore.drift_watch import DriftWatch
from eventscore.errors import DigestMismatch, NoSuchChannel, StoreUnavailable
from eventscore.fallback import FallbackRule
from eventscore.live_model import LOAD_CAP_S, LOOK_CAP_S, RULE_RETRY_S, LiveModel
from eventscore.model_cache import ModelCache
from eventscore.model_news import ModelNews, RuleAnswers, VersionLoaded, VersionNotLoaded
from eventscore.retry_schedule import RetrySchedule
from eventscore.stopwatch import Stopwatch
from eventscore.store.versions import Channels
from eventscore.version_source import VersionSource

REFRESH_S = 60.0
WITH_RULE = parse_contract(f"{small_model.CONTRACT_TOML}[fallback]\nscore = 0.5\n".encode(), "with rule")
WITHOUT_RULE = small_model.contract()


class FakeSource:
    """A store in which versions are good or bad, and that may be away. Counts what it is asked for."""

    def __init__(self, **channels: str) -> None:
        self.pointer = dict(channels)
        self.bad: set[str] = set()
        self.away = False
        self.contracts: dict[str, Contract] = {}
        self.looks = 0
        self.loads: list[str] = []
        self.model = small_model.MODEL
        self.before_load: Callable[[], None] = lambda: None
        self.before_watch: Callable[[], None] = lambda: None
        self.watch_of: Callable[[str], DriftWatch | None] = lambda version: None

    def begin(self, channel: str) -> None:
        pass

    def channels(self, watch: Stopwatch) -> Channels:
        self.looks += 1
        self._answer()
        return Channels(dict(self.pointer), repr(self.pointer))

    def changed_channels(self, seen: Channels) -> Channels | None:
        channels = self.channels(Stopwatch())
        return None if channels.etag == seen.etag else channels

    def load(self, version: str, watch: Stopwatch) -> Artifact:
        self.loads.append(version)
        self.before_load()
        self._answer()
        if version in self.bad:
            raise DigestMismatch(f"{version}/model.onnx", "this", "that")
        facts = {
            "model": self.model,
            "version": version,
            "signed_by": "k",
            "memory_bytes": 100,
            "contract": WITHOUT_RULE,
        }
        return cast("Artifact", SimpleNamespace(**facts))

    def watch(self, artifact: Artifact, began: float) -> DriftWatch | None:
        self.before_watch()
        return self.watch_of(artifact.version)

    def contract(self, version: str) -> Contract:
        self._answer()
        if version not in self.contracts:
            raise DigestMismatch(f"{version}/contract.toml", "this", "that")
        return self.contracts[version]

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("key", "away")


class Followed:
    """A live model with a clock that is moved by hand, and all that it told."""

    def __init__(self, source: FakeSource, refresh_s: float = REFRESH_S, **more: Any) -> None:
        self.now = 1_000_000.0
        self.news: list[ModelNews] = []
        self.source = source
        self.live = LiveModel(
            cast("VersionSource", source),
            more.pop("channel", "live"),
            refresh_s=refresh_s,
            clock=lambda: self.now,
            tell=self.news.append,
            **more,
        )

    def after(self, seconds: float, **how: Any) -> str | None:
        """Let time pass, do what the function does behind an invocation, and say who answers."""
        self.now += seconds
        if self.live.due():
            self.live.refresh(**how)
        return self.live.serving.version if self.live.serving else None

    @property
    def failures(self) -> list[VersionNotLoaded]:
        return [news for news in self.news if isinstance(news, VersionNotLoaded)]


def test_the_channels_version_is_loaded_when_first_asked_for_and_kept() -> None:
    followed = Followed(FakeSource(live="v1"))
    assert followed.source.looks == 0
    first = followed.live.get()
    assert first.version == "v1"
    assert followed.live.get() is first
    assert (followed.source.looks, followed.source.loads) == (1, ["v1"])


def test_the_pointer_is_looked_at_once_in_an_interval_and_never_before_it_is_over() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    for _ in range(59):
        followed.after(1)
    assert followed.source.looks == 1
    followed.after(1)
    assert followed.source.looks == 2
    followed.after(59.9)
    assert followed.source.looks == 2


def test_a_new_version_takes_over_and_says_whom_it_replaced() -> None:
    followed = Followed(FakeSource(live="v1"))
    batch_began_with = followed.live.get()
    followed.source.pointer["live"] = "v2"
    assert followed.after(59) == "v1"
    assert followed.after(1) == "v2"
    assert batch_began_with.version == "v1"
    assert [news.replaced for news in followed.news if isinstance(news, VersionLoaded)] == [None, "v1"]


def test_the_old_version_answers_until_the_new_one_is_ready() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    followed.source.pointer["live"] = "v2"
    meanwhile: list[str] = []
    followed.source.before_load = lambda: meanwhile.append(followed.live.get().version)
    assert followed.after(60) == "v2"
    assert meanwhile == ["v1"]


def test_zero_seconds_means_that_the_pointer_is_never_looked_at_again() -> None:
    followed = Followed(FakeSource(live="v1"), refresh_s=0)
    followed.live.get()
    followed.source.pointer["live"] = "v2"
    assert followed.after(1e9) == "v1"
    assert followed.source.looks == 1


def test_zero_seconds_still_mends_a_cold_start_that_found_the_version_before_only() -> None:
    followed = Followed(FakeSource(live="v2", previous="v1"), refresh_s=0)
    followed.source.bad = {"v2"}
    assert followed.live.get().version == "v1"
    followed.source.bad = set()
    assert followed.after(LOAD_CAP_S) == "v2"


def test_a_version_that_is_refused_leaves_the_old_one_and_is_tried_again_ever_less_often() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    followed.source.pointer["live"] = "v2"
    followed.source.bad = {"v2"}
    tried = []
    for second in range(1, 4001):
        before = len(followed.source.loads)
        assert followed.after(1) == "v1"
        if len(followed.source.loads) > before:
            tried.append(second)
    assert tried == [60, 120, 240, 480, 960, 1860, 2760, 3660]
    assert [failure.retry_in_s for failure in followed.failures][:3] == [60, 120, 240]
    assert {(failure.version, failure.serving) for failure in followed.failures} == {("v2", "v1")}
    assert {type(failure.error) for failure in followed.failures} == {DigestMismatch}
    assert followed.source.looks > 60, (
        "the pointer is looked at as often as ever: it may move on to a version that is good"
    )


def test_another_version_is_tried_at_once_however_often_the_last_one_failed() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    followed.source.pointer["live"] = "v2"
    followed.source.bad = {"v2"}
    for _ in range(30):
        followed.after(60)
    followed.source.pointer["live"] = "v3"
    assert followed.after(60) == "v3"


def test_back_to_the_version_that_still_answers_loads_nothing() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    followed.source.pointer["live"] = "v2"
    followed.source.bad = {"v2"}
    followed.after(60)
    followed.source.pointer["live"] = "v1"
    followed.after(60)
    followed.after(10_000)
    assert followed.source.loads == ["v1", "v2"]


def test_a_store_that_is_away_is_asked_less_often_and_told_each_time() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    followed.source.away = True
    looked = []
    for second in range(1, 2001):
        before = followed.source.looks
        assert followed.after(1) == "v1"
        if followed.source.looks > before:
            looked.append(second)
    assert looked == [60, 120, 240, 480, 780, 1080, 1380, 1680, 1980]
    assert [failure.retry_in_s for failure in followed.failures][-1] == LOOK_CAP_S
    followed.source.away = False
    followed.source.pointer["live"] = "v2"
    assert followed.after(LOOK_CAP_S) == "v2"


def test_a_channel_that_points_nowhere_any_more_leaves_the_version_and_is_told_once() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    del followed.source.pointer["live"]
    for _ in range(5):
        assert followed.after(60) == "v1"
    assert [type(failure.error) for failure in followed.failures] == [NoSuchChannel]


def test_whatever_a_load_raises_the_old_version_goes_on() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    followed.source.pointer["live"] = "v2"

    def out_of_memory() -> None:
        raise MemoryError

    followed.source.before_load = out_of_memory
    assert followed.after(60) == "v1"
    assert [type(failure.error) for failure in followed.failures] == [MemoryError]


def test_a_clock_that_is_set_back_does_not_stop_the_looks() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    followed.source.pointer["live"] = "v2"
    assert followed.after(-500_000) == "v2"


def test_a_failure_in_an_environment_that_was_frozen_says_nothing_but_not_for_ever() -> None:
    followed = Followed(FakeSource(live="v1"))
    followed.live.get()
    followed.source.away = True
    for _ in range(2):
        followed.after(60, interrupted=lambda: True)
        assert followed.failures == []
        assert followed.live.due(), "it is tried again as soon as may be"
    followed.after(0, interrupted=lambda: True)
    assert len(followed.failures) == 1
    assert not followed.live.due()


# -- cold starts


class Seen:
    """Stands for a drift watch, and remembers who answered in the moment in which it was told that nothing more comes."""

    def __init__(self, live: Callable[[], LiveModel]) -> None:
        self._live = live
        self.answered: list[str | None] = []

    @property
    def is_over(self) -> bool:
        return bool(self.answered)

    @is_over.setter
    def is_over(self, over: bool) -> None:
        serving = self._live().serving
        self.answered.append(serving.version if serving else None)


def watched_source(**channels: str) -> tuple[FakeSource, list[Any], Followed]:
    """A source whose versions have a baseline, the watches that were begun, and the model that follows it."""
    source, watches = FakeSource(**channels), list[Any]()
    followed = Followed(source, watched=watches.append)
    source.watch_of = lambda version: cast("DriftWatch", Seen(lambda: followed.live))
    return source, watches, followed


def test_a_version_that_may_still_answer_is_counted_on() -> None:
    source, watches, followed = watched_source(live="v1")
    followed.live.get()
    followed.after(1)
    source.pointer["live"] = "v2"
    assert followed.after(REFRESH_S) == "v2"
    # A batch that begins in this very moment meets the next version: no event is counted by a watch that was taken for the last time.
    assert [watch.answered for watch in watches] == [["v2"], []]


def test_a_model_that_is_let_go_is_counted_on_until_it_is_gone() -> None:
    _, begun, followed = watched_source(live="v1")
    followed.live.get()
    followed.after(1)
    followed.live.release()
    assert [watch.answered for watch in begun] == [[None]]


def test_a_watch_whose_version_was_let_go_while_its_baseline_was_read_ends_at_once() -> None:
    source, watches, followed = watched_source(live="v1")
    followed.live.get()
    source.before_watch = followed.live.release
    followed.after(1)
    assert [watch.is_over for watch in watches] == [True], "or it would be looked at for ever"


def test_a_cold_start_without_the_live_version_takes_the_one_before_and_goes_on_trying() -> None:
    followed = Followed(FakeSource(live="v2", previous="v1"))
    followed.source.bad = {"v2"}
    assert followed.live.get().version == "v1"
    assert [failure.version for failure in followed.failures] == ["v2"]
    assert followed.after(59) == "v1"
    followed.source.bad = set()
    assert followed.after(1) == "v2"


def test_the_version_before_is_that_of_live_and_of_no_other_channel() -> None:
    followed = Followed(FakeSource(live="v1", canary="v2", previous="v0"), channel="canary")
    followed.source.bad = {"v2"}
    with pytest.raises(DigestMismatch, match="v2/model.onnx"):
        followed.live.get()


def test_a_cold_start_without_anything_raises_what_was_wrong_with_the_live_version_and_tries_again() -> None:
    followed = Followed(FakeSource(live="v2", previous="v1"))
    followed.source.bad = {"v1", "v2"}
    for _ in range(2):
        with pytest.raises(DigestMismatch, match="v2/model.onnx"):
            followed.live.get()
    assert not followed.live.due(), "nobody answers, so the next event has to wait for a load anyway"
    followed.source.bad = {"v2"}
    assert followed.live.get().version == "v1"


@pytest.mark.parametrize("away", [False, True])
def test_the_rule_answers_where_no_version_can_be_had_until_one_can(away: bool) -> None:
    followed = Followed(FakeSource(live="v2", previous="v1"), deployed_contract=lambda: (WITH_RULE, "deployed"))
    followed.source.bad = {"v1", "v2"}
    followed.source.away = away
    assert isinstance(followed.live.get(), FallbackRule)
    assert [news.origin for news in followed.news if isinstance(news, RuleAnswers)] == ["deployed"]
    followed.source.away = False
    followed.source.bad = {"v2"}
    assert followed.after(RULE_RETRY_S - 0.1) == "none", "not on the way of an event"
    assert followed.after(0.1) == "v1", "sooner than the pointer is looked at otherwise"
    followed.source.bad = set()
    assert followed.after(REFRESH_S) == "v2"


def test_the_newest_contract_that_can_be_trusted_has_the_rule() -> None:
    def rule(contracts: dict[str, Contract]) -> str | None:
        followed = Followed(FakeSource(live="v2", previous="v1"), deployed_contract=lambda: (WITH_RULE, "deployed"))
        followed.source.bad = {"v1", "v2"}
        followed.source.contracts = contracts
        try:
            scorer = followed.live.get()
        except DigestMismatch:
            return None
        assert isinstance(scorer, FallbackRule)
        return scorer.origin

    assert rule({"v2": WITH_RULE, "v1": WITH_RULE}) == "version v2"
    assert rule({"v1": WITH_RULE}) == "version v1"
    assert rule({}) == "deployed"
    assert rule({"v2": WITHOUT_RULE, "v1": WITH_RULE}) is None, "whoever wrote v2 took the rule away"


def test_a_deployed_contract_without_a_rule_or_that_cannot_be_read_is_no_help() -> None:
    followed = Followed(FakeSource(live="v1"), deployed_contract=lambda: (WITHOUT_RULE, "deployed"))
    followed.source.away = True
    with pytest.raises(StoreUnavailable):
        followed.live.get()

    def unreadable() -> tuple[Contract, str]:
        raise DigestMismatch("contract.toml", "this", "that")

    followed = Followed(FakeSource(live="v1"), deployed_contract=unreadable)
    followed.source.away = True
    with pytest.raises(StoreUnavailable):
        followed.live.get()
    assert [type(failure.error) for failure in followed.failures] == [StoreUnavailable, DigestMismatch]


# -- any history

STEPS = st.one_of(
    st.tuples(st.just("promote"), st.sampled_from(["v1", "v2", "v3"])),
    st.tuples(st.just("spoil"), st.sampled_from(["v1", "v2", "v3"])),
    st.tuples(st.just("mend"), st.sampled_from(["v1", "v2", "v3"])),
    st.tuples(st.just("away"), st.booleans()),
    st.tuples(st.just("wait"), st.floats(0, 400)),
    st.tuples(st.just("interrupted"), st.floats(0, 400)),
    st.tuples(st.just("release"), st.none()),
)


@given(st.lists(STEPS, max_size=30), st.booleans(), st.sampled_from([0.0, 7.0, 60.0]))
def test_through_any_history_what_was_good_goes_on_and_in_the_end_the_live_version_answers(
    steps: list[tuple[str, Any]], with_rule: bool, refresh_s: float
) -> None:
    source = FakeSource(live="v1")
    deployed = (WITH_RULE, "deployed") if with_rule else None
    followed = Followed(source, refresh_s=refresh_s, deployed_contract=lambda: deployed)
    proved: set[str] = set()
    source_load = source.load

    def load(version: str, watch: Stopwatch) -> Artifact:
        artifact = source_load(version, watch)
        proved.add(version)
        return artifact

    source.load = load  # type: ignore[method-assign]
    followed.live.get()
    for step, what in steps:
        before = followed.live.serving
        match step:
            case "promote":
                source.pointer = {"live": what, "previous": source.pointer["live"]}
            case "spoil":
                source.bad.add(what)
            case "mend":
                source.bad.discard(what)
            case "away":
                source.away = what
            case "release":
                followed.live.release()
                try:
                    followed.live.get()
                except (DigestMismatch, StoreUnavailable):
                    assert not with_rule, "with a rule there is always somebody to answer"
                before = None
            case _:
                followed.after(what, interrupted=lambda step=step: step == "interrupted")
        if before is not None:
            assert followed.live.serving is not None, "an answer that could be given is never lost"
        if followed.live.serving is not None and not isinstance(followed.live.serving, FallbackRule):
            assert followed.live.serving.version in proved
    source.away = False
    source.bad = set()
    live = source.pointer["live"]
    if followed.live.serving is None:
        followed.live.get()
    for _ in range(4):
        followed.after(max(LOAD_CAP_S, LOOK_CAP_S))
    if refresh_s > 0:
        assert followed.live.serving is not None
        assert followed.live.serving.version == live


# -- when to try again


@given(st.floats(0.1, 100), st.floats(0.1, 1000), st.integers(1, 60))
def test_waits_double_up_to_the_cap_and_success_ends_them(interval: float, cap: float, failures: int) -> None:
    schedule = RetrySchedule(interval, cap)
    assert schedule.due(0)
    waits = []
    for _ in range(failures):
        schedule.failed(5)
        waits.append(schedule.wait_s)
        assert not schedule.due(5 + schedule.wait_s * 0.999)
        assert schedule.due(5 + schedule.wait_s * 1.001)
    assert waits[0] == interval
    assert all(wait <= max(interval, cap) for wait in waits)
    assert waits == sorted(waits)
    schedule.succeeded(5)
    assert schedule.wait_s == interval


# -- several models


def cache(max_bytes: int) -> tuple[ModelCache, dict[str, Followed]]:
    made: dict[str, Followed] = {}

    def make(model: str) -> LiveModel:
        source = FakeSource(live="v1")
        source.model = model
        made[model] = Followed(source)
        return made[model].live

    return ModelCache(make, max_bytes), made


def test_a_model_is_loaded_when_first_needed_and_the_least_recently_used_is_let_go() -> None:
    models, made = cache(max_bytes=200)
    for name in ("a", "b", "a", "c"):
        models.get(name)
    assert [live.model for live in models.held()] == ["a", "c"]
    models.get("b")
    assert [live.model for live in models.held()] == ["c", "b"]
    assert {name: one.source.loads for name, one in made.items()} == {"a": ["v1"], "b": ["v1", "v1"], "c": ["v1"]}


def test_a_model_larger_than_the_bound_is_served_alone() -> None:
    models, _ = cache(max_bytes=50)
    for name in ("a", "b"):
        assert models.get(name).model == name
        assert [live.model for live in models.held()] == [name]


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40), st.integers(1, 5))
def test_the_models_held_are_those_used_last(asked: list[str], fit: int) -> None:
    models, made = cache(max_bytes=100 * fit)
    for name in asked:
        assert models.get(name).model == name
        assert sum(live.memory_bytes for live in models.held()) <= 100 * fit
    recent = list(dict.fromkeys(reversed(asked)))[:fit]
    assert [live.model for live in models.held()] == recent[::-1]
    assert set(made) == set(asked)
