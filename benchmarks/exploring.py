"""Every way in which some programs can meet in one store: an explicit-state search that runs the real code.

A program is an ordinary function that is given a store. Its requests are answered from a list; where the list ends, the
program is left standing at its next request. So what a program does next depends on the answers so far alone, it is
run anew for each list of answers and once only, and a state of the whole is small: what the store holds, how far each
program has come, which requests are still on their way, how many faults may yet happen.

A request is answered; or, if a fault is left, it is lost before the store has seen it, done while the reply is lost,
done later than the client gives up, done a second time later, or done and then refused when the client repeats it. A
crash is no fault of its own: a program that takes no step any more looks like one, and every invariant is looked at
after every step. Left out: reads that are answered with old bytes, which no store with compare-and-set gives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import UUID

from blake3 import blake3

from tsgb.errors import Conflict, Missing, NoCompareAndSet, TsgbError, Unreachable
from tsgb.storage.base import Watch, unwatched

Contents = frozenset[tuple[str, bytes]]
"""Everything that a store holds."""
Request = tuple[Any, ...]
"""The name of a store's method and its arguments."""
Program = Callable[[Any], object]
"""What is run against a store; its return value, or the error that ended it, is its result."""
WRITES = {"put_new", "compare_and_set", "overwrite", "delete"}


class Refusal(NamedTuple):
    """An answer that is an error."""

    kind: type[TsgbError]


LOST, REFUSED = Refusal(Unreachable), Refusal(Conflict)


class Waiting(BaseException):
    """A program has come to a request that is not answered yet."""


class Simulated:
    """A store whose answers are given beforehand, and which remembers what it was asked."""

    def __init__(self, name: str, answers: tuple[Any, ...] = ()) -> None:
        self.name, self.answers = name, answers
        self.asked: list[Request] = []
        self.drawn = 0
        self.fences = True
        self.notes: dict[str, Any] = {}

    def ask(self, *request: Any) -> Any:
        """Return the answer to the next request, or leave the program here."""
        self.asked.append(request)
        if len(self.asked) > len(self.answers):
            raise Waiting
        answer = self.answers[len(self.asked) - 1]
        if isinstance(answer, Refusal):
            raise answer.kind(f"{request[0]} {request[1]}")
        return answer

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        whole: bytes = self.ask("get", key)
        return whole[start:stop]

    def get_file(self, key: str, path: Path, watch: Watch = unwatched) -> None:
        data = self.get(key)
        watch(data)
        path.write_bytes(data)

    def put_new(self, key: str, data: bytes) -> None:
        self.ask("put_new", key, data)

    def put_file(self, key: str, path: Path) -> None:
        self.put_new(key, path.read_bytes())

    def put_files(self, files: Mapping[str, Path]) -> None:
        for key, path in files.items():
            self.put_file(key, path)

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        self.ask("compare_and_set", key, expected, new)

    def overwrite(self, key: str, data: bytes) -> None:
        """What no store offers; broken variants ask for it."""
        self.ask("overwrite", key, data)

    def exists(self, key: str) -> bool:
        return bool(self.ask("exists", key))

    def list(self, prefix: str) -> tuple[str, ...]:
        keys: tuple[str, ...] = self.ask("list", prefix)
        return keys

    def delete(self, key: str) -> None:
        self.ask("delete", key)

    def sweep(self, older_than_s: float = 0) -> int:
        return 0

    def probe(self) -> None:
        if not self.fences:
            raise NoCompareAndSet("this store is to be used as one that cannot fence")

    def draw(self) -> UUID:
        """A number that is another one at every call of every program, and the same when it is run again."""
        self.drawn += 1
        return UUID(bytes=blake3(f"{self.name} {self.drawn}".encode()).digest(length=16))


_KNOWN: dict[Contents, Contents] = {}
"""Equal contents are the same object, so that states compare quickly."""


@cache
def answered(contents: Contents, request: Request) -> tuple[Contents, Any]:
    """What a store holds after a request, and its answer."""
    held = dict(contents)
    method, key = request[:2]
    answer: Any = None
    if method == "list":
        answer = tuple(sorted(each for each in held if each.startswith(key)))
    elif method == "exists":
        answer = key in held
    elif method == "get":
        answer = held.get(key, Refusal(Missing))
    elif method == "delete":
        held.pop(key, None)
    elif method == "put_new" and held.setdefault(key, request[2]) != request[2]:
        answer = REFUSED
    elif method == "overwrite":
        held[key] = request[2]
    elif method == "compare_and_set":
        if held.get(key) == request[2]:
            held[key] = request[3]
        else:
            answer = REFUSED
    after = frozenset(held.items())
    return _KNOWN.setdefault(after, after), answer


class Stand(NamedTuple):
    """How far a program has come."""

    request: Request | None
    """What it waits for; None: it has ended."""
    result: object
    """What it returned, or the error that ended it."""
    notes: dict[str, Any]
    """What the program wrote down for the invariants."""


class State(NamedTuple):
    """The whole at one moment; programs are numbered by how far they have come."""

    contents: Contents
    stands: tuple[int, ...]
    on_their_way: tuple[Request, ...]
    faults: int
    ghost: Any
    """What the invariants remember of the past."""


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass
class Counts:
    """How much was looked at."""

    states: int = 0
    transitions: int = 0
    runs: int = 0
    """How often a program was run."""
    complete: bool = False
    """Whether there is no state that was not looked at."""


Step = tuple[str, Request, str]
"""Whose request, which, and what became of it."""
CameFrom = dict[State, tuple[State, Step] | None]
"""The state before, and the step from there, of every state found."""
Check = Callable[[Contents, Contents, Any, tuple[Stand, ...]], Any]
"""Raises Violation for what a store held before and after a step, or returns what to remember."""


def unheard(store: Simulated) -> None:
    """Write nothing down about what a program was told."""


@dataclass
class Search:
    """Breadth first, so that a violation is shown by one of the shortest ways to it."""

    programs: Mapping[str, Program]
    check: Check
    faults: int
    listen: Callable[[Simulated], None] = unheard
    """Sees every program that was run, and may add to its notes what it has learnt from its answers."""
    contents: Contents = frozenset()
    counts: Counts = field(default_factory=Counts)
    _places: dict[tuple[int, Any], int] = field(default_factory=dict)
    _answers: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    _stands: list[Stand] = field(default_factory=list)

    def run(self, limit: int) -> Counts:
        """Look at up to `limit` states; raises Violation with the steps that lead there."""
        starts = tuple(self._place(name, ()) for name in self.programs)
        first = State(self.contents, starts, (), self.faults, self._checked(self.contents, self.contents, None, starts))
        came_from: CameFrom = {first: None}
        waiting = deque([first])
        while waiting and len(came_from) < limit:
            state = waiting.popleft()
            for step, after in self._steps(state):
                self.counts.transitions += 1
                after = self._lawful(came_from, state, step, after)
                if after not in came_from:
                    came_from[after] = (state, step)
                    waiting.append(after)
            self.counts.states, self.counts.runs = len(came_from), len(self._answers)
        self.counts.complete = not waiting
        return self.counts

    def _lawful(self, came_from: CameFrom, state: State, step: Step, after: State) -> State:
        """The state after a step with what is to be remembered; raises Violation with all steps that lead there."""
        try:
            return after._replace(ghost=self._checked(state.contents, after.contents, state.ghost, after.stands))
        except Violation as error:
            raise Violation(f"{error}\n{_story(came_from, state, step)}") from None

    def _checked(self, before: Contents, after: Contents, ghost: Any, stands: tuple[int, ...]) -> Any:
        return self.check(before, after, ghost, tuple(self._stands[each] for each in stands))

    def _steps(self, state: State) -> Iterator[tuple[Step, State]]:
        for at, place in enumerate(state.stands):
            request = self._stands[place].request
            if request is not None:
                yield from self._outcomes(state, at, request)
        for at, request in enumerate(state.on_their_way):
            rest = state.on_their_way[:at] + state.on_their_way[at + 1 :]
            contents = answered(state.contents, request)[0]
            yield ("the store", request, "late"), state._replace(contents=contents, on_their_way=rest)

    def _outcomes(self, state: State, at: int, request: Request) -> Iterator[tuple[Step, State]]:
        """What may become of a request of one program."""
        name = self._answers[state.stands[at]][0]
        contents, answer = answered(state.contents, request)
        yield (name, request, ""), self._moved(state, at, answer, contents)
        if not state.faults:
            return
        faulty = state._replace(faults=state.faults - 1)
        yield (name, request, "lost"), self._moved(faulty, at, LOST, state.contents)
        if request[0] not in WRITES:
            return
        later = faulty._replace(on_their_way=tuple(sorted((*faulty.on_their_way, request), key=repr)))
        yield (name, request, "not yet"), self._moved(later, at, LOST, state.contents)
        if not isinstance(answer, Refusal):
            yield (name, request, "reply lost"), self._moved(faulty, at, LOST, contents)
            yield (name, request, "and once more later"), self._moved(later, at, answer, contents)
            if request[0] == "compare_and_set":
                yield (name, request, "refused when repeated"), self._moved(faulty, at, REFUSED, contents)

    def _moved(self, state: State, at: int, answer: Any, contents: Contents) -> State:
        place = state.stands[at]
        if (place, answer) not in self._places:
            name, answers = self._answers[place]
            self._places[place, answer] = self._place(name, (*answers, answer))
        stands = (*state.stands[:at], self._places[place, answer], *state.stands[at + 1 :])
        return state._replace(contents=contents, stands=stands)

    def _place(self, name: str, answers: tuple[Any, ...]) -> int:
        """Run a program with these answers and keep how far it comes."""
        self._answers.append((name, answers))
        self._stands.append(stand(name, self.programs[name], answers, self.listen))
        return len(self._stands) - 1


def stand(
    name: str, program: Program, answers: tuple[Any, ...], listen: Callable[[Simulated], None] = unheard
) -> Stand:
    """Run a program with some answers."""
    store = Simulated(name, answers)
    waits_for: Request | None = None
    result: object = None
    with _drawing(store):
        try:
            result = program(store)
        except Waiting:
            waits_for = store.asked[-1]
        except TsgbError as error:
            result = error
    listen(store)
    return Stand(waits_for, result, store.notes)


def alone(name: str, program: Program, contents: Contents = frozenset()) -> Contents:
    """What a store holds after a program was the only one to use it."""
    answers: list[Any] = []
    while (now := stand(name, program, tuple(answers))).request is not None:
        contents, answer = answered(contents, now.request)
        answers.append(answer)
    if isinstance(now.result, TsgbError):
        raise now.result
    return contents


@contextmanager
def _drawing(store: Simulated) -> Iterator[None]:
    """Let the protocol draw its nonces from the program's own numbers."""
    with patch("tsgb.checkpoints.lease.uuid4", store.draw), patch("tsgb.checkpoints.publish.uuid4", store.draw):
        yield


def _story(came_from: CameFrom, state: State, last: Step) -> str:
    steps = [last]
    while (before := came_from[state]) is not None:
        state, step = before
        steps.append(step)
    return "\n".join(f"  {number:2} {_shown(*step)}" for number, step in enumerate(reversed(steps), 1))


def _shown(name: str, request: Request, outcome: str) -> str:
    return f"{name}: {request[0]} {request[1]}{outcome and f', {outcome}'}"
