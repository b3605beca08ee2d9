"""A batch in several requests: each of them once, whatever becomes of the others."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from otelprof.exporters.outbox import Outbox
from otelprof.exporters.splitting import Limits, size_bound
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch, Profile
from tests.support.random_profiles import counted_rows, random_profile

RETRY = Outcome("retry", "later", retry_after_s=3.0, patience_s=600.0)
REFUSED = Outcome("refused", "too old")
WHOLE = random_profile(100, depth=3)
OTHER = random_profile(20, depth=3, seed=2)
BATCH = Batch((WHOLE, OTHER))
SIZES = [30, 30, 30, 10, 20]  # the rows of its requests


class Receiver:
    """Answers as scripted, then takes everything; keeps what it took."""

    def __init__(self, *script: Outcome) -> None:
        self.script = list(script)
        self.taken: list[Profile] = []
        self.asked: list[int] = []
        self.encoded = 0
        self.outbox = Outbox(self.encode, self.send, Limits(10**9, 30, max_profiles=1))
        self._bodies: list[Profile] = []

    def encode(self, profiles: Sequence[Profile]) -> bytes:
        self._bodies.extend(profiles)
        return str(len(self._bodies) - 1).encode()

    def send(self, body: bytes, timeout_s: float) -> Outcome:
        assert 0 < timeout_s <= 10.0
        profile = self._bodies[int(body)]
        self.asked.append(len(profile))
        outcome = self.script.pop(0) if self.script else DELIVERED
        if outcome.verdict == "delivered":
            self.taken.append(profile)
        return outcome

    def export(self, batch: Batch = BATCH, timeout_s: float = 10.0) -> Outcome:
        return self.outbox.export(batch, timeout_s=timeout_s)


def test_all_requests_leave_in_order() -> None:
    receiver = Receiver()
    assert receiver.export() == DELIVERED
    assert receiver.asked == SIZES
    assert counted_rows(*receiver.taken) == counted_rows(WHOLE, OTHER)


def test_what_arrived_is_not_sent_again() -> None:
    receiver = Receiver(DELIVERED, DELIVERED, RETRY, RETRY)
    assert receiver.export() == RETRY
    assert receiver.export() == RETRY
    assert receiver.export() == DELIVERED
    assert receiver.asked == [30, 30, 30, 30, 30, 10, 20]
    assert counted_rows(*receiver.taken) == counted_rows(WHOLE, OTHER)


def test_nor_if_the_batch_comes_back_with_its_rows_in_another_order() -> None:
    turned = replace(
        WHOLE,
        stack=WHOLE.stack[::-1],
        link=WHOLE.link[::-1],
        labels=WHOLE.labels[::-1],
        values=tuple(column[::-1] for column in WHOLE.values),
    )
    receiver = Receiver(DELIVERED, RETRY)
    assert receiver.export() == RETRY
    assert receiver.export(Batch((turned, OTHER))) == DELIVERED
    assert counted_rows(*receiver.taken) == counted_rows(WHOLE, OTHER)


def test_another_batch_has_its_turn() -> None:
    receiver = Receiver(RETRY)
    assert receiver.export() == RETRY
    assert receiver.export(Batch((OTHER,))) == DELIVERED
    assert receiver.export() == DELIVERED
    assert receiver.asked == [30, 20, *SIZES]


def test_a_batch_without_ids_is_new_each_time() -> None:
    nameless = Batch((replace(OTHER, profile_id=b""),))
    receiver = Receiver(RETRY)
    assert receiver.export(nameless) == RETRY
    assert receiver.export(nameless) == DELIVERED
    assert receiver.asked == [20, 20]


def test_a_batch_that_is_delivered_can_be_sent_again() -> None:
    receiver = Receiver()
    assert [receiver.export(), receiver.export()] == [DELIVERED, DELIVERED]
    assert receiver.asked == [*SIZES, *SIZES]


@pytest.mark.parametrize(
    ("script", "rejected"),
    [
        ([REFUSED], 1),
        ([DELIVERED, REFUSED, DELIVERED, REFUSED], 1),
        ([DELIVERED, DELIVERED, DELIVERED, DELIVERED, REFUSED], 1),
        ([REFUSED, DELIVERED, DELIVERED, DELIVERED, REFUSED], 2),
    ],
)
def test_a_profile_of_which_a_part_is_refused_counts_as_rejected(
    script: list[Outcome], rejected: int
) -> None:
    receiver = Receiver(*script)
    assert receiver.export() == Outcome("delivered", "too old", rejected_profiles=rejected)
    assert receiver.asked == SIZES


def test_nothing_taken_is_refused() -> None:
    assert Receiver(*[REFUSED] * 5).export() == REFUSED


def test_a_partial_success_counts_no_more_than_there_was() -> None:
    partly = Outcome("delivered", "some", rejected_profiles=10**9)
    assert Receiver(*[partly] * 5).export() == Outcome("delivered", "some", rejected_profiles=2)


def test_a_warning_is_passed_on_unless_something_was_rejected() -> None:
    warns = Outcome("delivered", "deprecated")
    assert Receiver(DELIVERED, warns).export() == warns
    rejected = Outcome("delivered", "too old", rejected_profiles=1)
    assert Receiver(warns, REFUSED).export() == rejected


def test_says_how_many_bytes_were_taken_in_each_attempt() -> None:
    """Of five requests of one byte: one, and then those that are neither taken nor refused yet."""
    receiver = Receiver(DELIVERED, REFUSED, RETRY)
    first, second = receiver.export(), receiver.export()
    assert (first.verdict, first.delivered_bytes) == ("retry", 1)
    assert (second.verdict, second.delivered_bytes) == ("delivered", 3)


def test_a_refusal_before_a_retry_is_not_forgotten() -> None:
    receiver = Receiver(REFUSED, RETRY)
    assert receiver.export() == RETRY
    assert receiver.export() == Outcome("delivered", "too old", rejected_profiles=1)


def test_without_time_nothing_is_sent() -> None:
    receiver = Receiver()
    assert receiver.export(timeout_s=0.0).verdict == "retry"
    assert receiver.asked == []
    assert receiver.export() == DELIVERED


def test_what_cannot_be_encoded_does_not_stay_in_the_way() -> None:
    receiver = Receiver()

    def fail(_: Sequence[Profile]) -> bytes:
        raise ValueError("not like this")

    receiver.outbox = Outbox(fail, receiver.send)
    for _ in range(2):
        with pytest.raises(ValueError, match="not like this"):
            receiver.export()


def test_a_forked_child_sends_nothing_of_its_parents() -> None:
    receiver = Receiver(DELIVERED, RETRY)
    assert receiver.export() == RETRY
    receiver.outbox.forget()
    receiver.taken.clear()
    assert receiver.export(Batch((OTHER,))) == DELIVERED
    assert counted_rows(*receiver.taken) == counted_rows(OTHER)


def test_nothing_is_delivered_at_once() -> None:
    assert Receiver().export(Batch(())) == DELIVERED


class Narrow:
    """Takes requests up to a size, as a proxy does that stands before a receiver."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.asked: list[int] = []
        self.taken: list[Profile] = []
        self.outbox = Outbox(self.encode, self.send)
        self._profiles: list[Profile] = []

    def encode(self, profiles: Sequence[Profile]) -> bytes:
        self._profiles = list(profiles)
        return b"-" * sum(map(size_bound, profiles))

    def send(self, body: bytes, timeout_s: float) -> Outcome:
        assert timeout_s > 0
        self.asked.append(len(body))
        if len(body) > self.most_bytes:
            return Outcome("refused", "too large", is_too_large=True)
        self.taken.extend(self._profiles)
        return DELIVERED


def test_a_request_that_is_too_large_is_sent_in_halves_and_the_next_ones_are_smaller() -> None:
    batch = Batch((random_profile(5_000, depth=10), OTHER, random_profile(300, depth=10, seed=3)))
    narrow = Narrow(150_000)
    assert narrow.outbox.export(batch, timeout_s=10.0) == DELIVERED
    assert counted_rows(*narrow.taken) == counted_rows(*batch.profiles)
    tries = len(narrow.asked)
    assert max(narrow.asked) > 150_000
    assert narrow.outbox.export(batch, timeout_s=10.0) == DELIVERED
    assert max(narrow.asked[tries:]) <= 150_000


@pytest.mark.parametrize("profile", [random_profile(2_000, depth=10), OTHER])
def test_what_is_too_large_however_small_it_is_is_refused(profile: Profile) -> None:
    narrow = Narrow(0)
    outcome = narrow.outbox.export(Batch((profile,)), timeout_s=10.0)
    assert outcome == Outcome("refused", "too large")
    assert len(narrow.asked) <= 4 * narrow.asked[0] // 65_536 + 1
