"""What has to hold of a run's store after every step, whoever has crashed.

| of | holds |
|---|---|
| the line of the head | every commit on it is whole: manifest with the digest promised, files with theirs |
| a move of the head | epochs never go back; within one, owner and nonce stay |
| a new commit | is of the head's epoch, its parent is the newest before it, it was never on the line before |
| what has left the line | retained, gone back behind, superseded: never comes back, whatever request arrives late |
| a commit that was confirmed to its writer | was on the line, and no new epoch begins without it but by going back |
| a pin that was confirmed | its commit is whole |
| a commit under way | that a writer of the head's epoch has begun loses no file |

And of the means that the protocol has to this end:

| of | holds |
|---|---|
| a move of the head | `seq` rises; the newest commit leaves the line under a new epoch alone |
| a writer that has read that it is fenced | asks for no deletion and no move |
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from exploring import Contents, Simulated, Stand, Violation, answered

from tsgb.checkpoints.encoding import decode, digest_of
from tsgb.checkpoints.heads import Seen, read_head
from tsgb.checkpoints.layout import MANIFEST, commit_key, commits_prefix, epochs_prefix, head_key, lease_key, position
from tsgb.records.run import Head, Manifest

RUN = "demo"


class Past(NamedTuple):
    """What is remembered from step to step."""

    seen: frozenset[str]
    """Commits that were on the line at any time."""
    head: Head | None = None
    """The last head in whose place no other could have come any more."""


class _Reader(Simulated):
    """A store that answers from contents, at once."""

    def __init__(self, contents: Contents) -> None:
        super().__init__("reader")
        self.contents = contents

    def ask(self, *request: Any) -> Any:
        answer = answered(self.contents, request)[1]
        if isinstance(answer, tuple) and hasattr(answer, "kind"):
            raise answer.kind(str(request))
        return answer


def seen_head(store: Any) -> Head | None:
    """The head as a program reads it."""
    return read_head(store, RUN).head


@cache
def head_of(contents: Contents) -> Seen:
    """The head that a reader would find."""
    return read_head(_Reader(contents), RUN)


class Invariants:
    """Looks at one step at a time; without `means`, at what is promised and not at how that is brought about."""

    def __init__(self, *, means: bool = True) -> None:
        self.means = means

    def __call__(self, before: Contents, after: Contents, past: Past | None, stands: tuple[Stand, ...]) -> Past:
        """Raise Violation, or return what to remember."""
        for each in stands:
            if self.means:
                _require_silence_of_the_fenced(each)
            if "pinned" in each.notes:
                _require_whole(after, each.notes["pinned"], None, "pinned")
        confirmed = frozenset(name for each in stands for name in each.notes.get("committed", ()))
        now = self._moved(before, after, past, confirmed)
        _require(confirmed <= now.seen, f"{confirmed - now.seen} was confirmed and never on the line")
        return now

    def _moved(self, before: Contents, after: Contents, past: Past | None, confirmed: frozenset[str]) -> Past:
        past = past or Past(frozenset())
        (new, _, granted), old = head_of(after), past.head
        if new is None or (before is after and old is not None):
            return past
        _require_whole_line(after)
        _require_untouched(before, after, past.seen)
        if granted > new.epoch:
            return past
        if old is not None and old != new:
            _require_fair_move(old, new, past.seen, confirmed, before, after)
            if self.means:
                _require_counted(old, new)
        return Past(past.seen | {each.commit for each in new.line}, new)


def listen(store: Simulated) -> None:
    """Write down whether a writer has read of an epoch above its own."""
    lease = store.notes.get("lease")
    if lease is None:
        return
    for request, answer in zip(store.asked, store.answers, strict=False):
        if request == ("get", head_key(RUN)) and isinstance(answer, bytes):
            if (epoch := decode(Head, answer, "HEAD").epoch) > lease.epoch:
                store.notes["fenced"] = epoch
        elif request == ("list", epochs_prefix(RUN)) and lease_key(RUN, lease.epoch + 1) in answer:
            store.notes["fenced"] = lease.epoch + 1


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


@cache
def _require_whole_line(contents: Contents) -> None:
    head = head_of(contents).head
    for each in head.line if head else ():
        _require_whole(contents, each.commit, each.manifest_digest, "named by the head")


@cache
def _require_whole(contents: Contents, commit: str, digest: str | None, why: str) -> None:
    held = dict(contents)
    key = commit_key(RUN, commit, MANIFEST)
    _require(key in held, f"{commit} is {why} and has no manifest")
    _require(digest in (None, digest_of(held[key])), f"{commit} is {why} and has another manifest")
    for name, promised in decode(Manifest, held[key], key).files.items():
        data = held.get(commit_key(RUN, commit, name))
        _require(data is not None and digest_of(data) == promised.blake3, f"{commit} is {why} and lacks {name}")


@cache
def _require_untouched(before: Contents, after: Contents, seen: frozenset[str]) -> None:
    """What a writer of the head's epoch has put down stays until it has been on the line."""
    head, prefix = head_of(after).head, commits_prefix(RUN)
    assert head is not None
    for key in (key for key, _ in before - after if key.startswith(prefix)):
        commit = "/".join(key.removeprefix(prefix).split("/")[:2])
        place = position(commit)
        under_way = place is not None and place.epoch == head.epoch and commit not in seen
        _require(not under_way, f"{key} was deleted while its commit was under way")


@cache
def _require_fair_move(
    old: Head, new: Head, seen: frozenset[str], confirmed: frozenset[str], earlier: Contents, contents: Contents
) -> None:
    _require(new.epoch >= old.epoch, f"the epoch went back from {old.epoch} to {new.epoch}")
    line, before = [each.commit for each in new.line], [each.commit for each in old.line]
    came_back = (seen - set(before)) & set(line)
    _require(not came_back, f"{came_back} had left the line and came back")
    if new.epoch > old.epoch:
        named = head_of(earlier).head or old  # granted: perhaps one that came too late to be confirmed
        strange = {*line} - {*before} - {each.commit for each in named.line}
        _require(not strange, f"epoch {new.epoch} began with {strange}, which the head did not name")
        lost = ({*before} - {*line}) & confirmed
        _require(not lost or new.owner == "person", f"epoch {new.epoch} began without {lost}, which was confirmed")
        return
    _require((new.owner, new.nonce) == (old.owner, old.nonce), f"epoch {new.epoch} has two owners")
    fresh = [commit for commit in line if commit not in before]
    _require(fresh in ([], line[:1]), f"{fresh} came at once")
    if fresh:
        _require_fair_commit(old, new, fresh[0], contents)


def _require_counted(old: Head, new: Head) -> None:
    _require((new.epoch, new.seq) > (old.epoch, old.seq), f"seq went from {old.seq} to {new.seq}")
    left = new.epoch == old.epoch and old.commit not in [None, *(each.commit for each in new.line)]
    _require(not left, "the newest commit left the line without a new epoch")


def _require_fair_commit(old: Head, new: Head, commit: str, contents: Contents) -> None:
    place, key = position(commit), commit_key(RUN, commit, MANIFEST)
    assert place is not None
    _require(place.epoch == new.epoch, f"{commit} was committed in epoch {new.epoch}")
    manifest = decode(Manifest, dict(contents)[key], key)
    _require(manifest.parent == old.commit, f"{commit} follows {old.commit} but was made from {manifest.parent}")


def _require_silence_of_the_fenced(stand: Stand) -> None:
    fenced = stand.notes.get("fenced")
    if fenced and stand.request is not None:
        moves = stand.request[0] in ("delete", "overwrite") or stand.request[:2] == ("compare_and_set", head_key(RUN))
        _require(not moves, f"a writer that has read of epoch {fenced} asks: {stand.request[:2]}")
