"""Every state that workers at one item can come to: the real claims on a file system in memory.

A worker looks at what is there, and may be paused for any time, or die, before it writes: what it
then writes rests on an old look. On a file system without hard links a claim is written in two
steps, with an empty file in between. All is explored, breadth first: from an item that nobody has
claimed, and from one whose owner on another machine has died, which two watch.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import pytest

from sdsearch.workers import claims as real
from sdsearch.workers.claims import Attempt, Claim, Claims, Worker, attempt_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEASE, TICK, LONG_AGO = 60.0, 25.0, 75.0
TRIES = 2
"""Attempts, of which the second may rest on the first."""
NAMES, SEEN = "ab", "a"
"""All workers, and those whose processes all others can see to be gone."""
Files = dict[str, bytes]


@dataclass(frozen=True)
class Place:
    """A path in a file system that is a dictionary."""

    files: Files
    name: str = ""

    def __truediv__(self, part: str) -> Place:
        return replace(self, name=f"{self.name}/{part}")

    @property
    def parent(self) -> Place:
        return replace(self, name=self.name.rpartition("/")[0])

    @property
    def parents(self) -> tuple[Place, Place]:
        return self, self

    def exists(self) -> bool:
        return self.name in self.files

    def read_bytes(self) -> bytes:
        return self.files[self.name]

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.name == other.name


@dataclass(frozen=True)
class One:
    """A worker: dead, idle, about to write what it decided on an old look, or an owner.

    `seen` is what it remembers of the last attempt: its number, how it was, since when and when it
    looked, in seconds ago; `silent` for how long its own attempt was not written.
    """

    name: str
    stage: Literal["dead", "idle", "decided", "filling", "owner"] = "idle"
    number: int = 0
    attempt: Attempt | None = None
    silent: float = 0.0
    seen: tuple[int, Attempt, float, float] | None = None

    @property
    def holds(self) -> bool:
        """Whether a number is its own."""
        return self.stage in ("filling", "owner")


@dataclass(frozen=True)
class State:
    """Files and workers; `deaths` counts what has begun and ended by itself."""

    files: tuple[bytes, ...] = ()
    workers: tuple[One, ...] = ()
    deaths: int = 0
    done: bool = False


@dataclass
class Model:
    """What can come after a state, by the real `Claims`, with hard links or without."""

    links: bool
    monkeypatch: pytest.MonkeyPatch
    gone: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        def write_atomic(path: Place, data: str) -> None:
            path.files[path.name] = data.encode()

        self.monkeypatch.setattr(real, "write_once", lambda *_: True)
        self.monkeypatch.setattr(real, "write_atomic", write_atomic)
        self.monkeypatch.setattr(Worker, "is_gone", lambda one: one.host in self.gone)
        self.monkeypatch.setattr(real, "datetime", Calendar)

    def after(self, state: State) -> Iterator[State]:
        """All states that one step leads to."""
        if state.done:
            return
        yield self.pass_time(state)
        for at, one in enumerate(state.workers):
            if one.stage != "dead":
                yield put(state, at, One(one.name, "dead"))
                yield from self.steps(state, at, one)

    def pass_time(self, state: State) -> State:
        """All clocks go on; what lies further back than matters is as far back as matters."""

        def later(one: One) -> One:
            silent = min(one.silent + TICK, LONG_AGO) if one.holds else 0.0
            if one.seen is None:
                return replace(one, silent=silent)
            number, last, since, looked = one.seen
            ages = (min(since + TICK, LONG_AGO), min(looked + TICK, LONG_AGO))
            return replace(one, seen=(number, last, *ages), silent=silent)

        return replace(state, workers=tuple(map(later, state.workers)))

    def steps(self, state: State, at: int, one: One) -> Iterator[State]:
        """What comes of all that a living worker can do."""
        if one.stage == "idle":
            if len(state.files) < TRIES:
                yield put(state, at, self.look(state, one))
        elif one.stage == "decided":
            yield self.create(state, at, one)
        elif one.stage == "filling":  # the name is its own, and the file empty
            yield self.write(
                state, at, replace(one, stage="owner"), lambda claim: claim._write(beat=0)
            )
        else:
            yield from self.own(state, at, one)

    def look(self, state: State, one: One) -> One:
        """The first half of `take`: what a worker sees, and decides on it."""
        self.gone = frozenset(x.name for x in state.workers if x.stage == "dead" and x.name in SEEN)
        me, last = Worker(host=one.name, place=one.name, pid=1), len(state.files)
        files = {name_of(n): data for n, data in enumerate(state.files, start=1)}
        claims = Claims(Place(files), LEASE, me, clock=lambda: 0.0)
        if one.seen:
            number, before, since, looked = one.seen
            claims._seen = {Place(files, name_of(number)): (before, -since, -looked)}
        claim = claims.take("item")
        if claim is None:
            before, since, looked = claims._seen[Place(files, name_of(last))]
            return replace(one, seen=(last, before, -since, -looked))
        assert len(claim.troubles) <= state.deaths, "blame is for what has ended by itself alone"
        for other in state.workers:
            if other.stage == "owner" and other.number == last:
                assert other.silent > LEASE, f"{other} still works, and is not silent"
        return One(one.name, "decided", claim.number, claim.attempt)

    def create(self, state: State, at: int, one: One) -> State:
        """The second half: the number is its own unless somebody has it."""
        assert one.attempt is not None
        if one.number <= len(state.files):
            return put(state, at, One(one.name))
        data = one.attempt.model_dump_json().encode() if self.links else b""
        stage = "owner" if self.links else "filling"
        taken = replace(state, files=(*state.files, data))
        return put(taken, at, replace(one, stage=stage))

    def own(self, state: State, at: int, one: One) -> Iterator[State]:
        """What an owner can do: renew its lease, begin, and end its attempt in each way."""
        assert one.attempt is not None
        ended = One(one.name)
        if not one.attempt.beat:
            yield self.write(state, at, one, lambda claim: claim._write())
        if not one.attempt.begun:
            yield self.write(state, at, one, Claim.begin)
        else:
            lost = replace(state, deaths=state.deaths + 1)
            yield self.write(lost, at, ended, lambda claim: claim.end("lost"), one)
            done = replace(state, done=True)
            yield self.write(done, at, ended, lambda claim: claim.end("done"), one)
        yield self.write(state, at, ended, lambda claim: claim.end("released"), one)

    def write(
        self,
        state: State,
        at: int,
        then: One,
        write: Callable[[Claim], None],
        one: One | None = None,
    ) -> State:
        """A worker writes its own file, and is `then`, with what it wrote where it goes on."""
        owner = one or then
        assert owner.attempt is not None
        files: Files = {}
        path = Place(files, name_of(owner.number))
        claim = Claim(path, owner.number, owner.attempt, LEASE, [], lambda: 0.0, 0.0)
        write(claim)
        number = owner.number
        whole = (*state.files[: number - 1], files[path.name], *state.files[number:])
        kept = then if one else replace(then, attempt=claim.attempt, silent=0.0)
        return put(replace(state, files=whole), at, kept)


class Calendar:
    """Dates do not matter."""

    @staticmethod
    def now(_: object) -> Calendar:
        return Calendar()

    def isoformat(self, timespec: str) -> str:
        return "then"


def name_of(number: int) -> str:
    return attempt_path(Place({}, "/item"), number).name


def put(state: State, at: int, one: One) -> State:
    return replace(state, workers=(*state.workers[:at], one, *state.workers[at + 1 :]))


def check(model: Model, state: State) -> None:
    numbers = [one.number for one in state.workers if one.holds]
    assert len(numbers) == len(set(numbers)), "a number is given once"
    assert sum(number == len(state.files) for number in numbers) <= 1, "two own one item"
    if not state.done and len(state.files) < TRIES:
        assert can_be_taken(model, state), "the item is lost"


def can_be_taken(model: Model, state: State) -> bool:
    """Whether an idle worker gets the item, if it goes on looking and nobody else does anything."""
    at = next((at for at, one in enumerate(state.workers) if one.stage == "idle"), None)
    if at is None:
        return True
    for _ in range(6):
        state = put(state, at, model.look(state, state.workers[at]))
        if state.workers[at].stage == "decided":
            return True
        state = model.pass_time(state)
    return False


def explore(model: Model, first: State) -> int:
    """Visit every state that can come; how many there are."""
    seen, queue = {first}, deque([first])
    while queue:
        state = queue.popleft()
        check(model, state)
        for then in model.after(state):
            if then not in seen:
                seen.add(then)
                queue.append(then)
    return len(seen)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize(
    "orphaned", [pytest.param(False, marks=pytest.mark.slow), True], ids=["nobody's", "orphaned"]
)
def test_no_state_has_two_owners_a_lost_item_or_blame_without_a_death(
    links: bool, orphaned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(links, monkeypatch)
    first = State(workers=tuple(One(name) for name in NAMES))
    if orphaned:
        dead = Attempt(worker=Worker(host="c", place="c", pid=1), began="then", begun=True)
        first = replace(first, files=(dead.model_dump_json().encode(),))
    assert explore(model, first) > 500
