"""The commit protocol, broken in one place each: what the invariants have to catch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from tsgb.checkpoints.encoding import encode, sealed
from tsgb.checkpoints.heads import Seen, read_head
from tsgb.checkpoints.layout import MANIFEST, commit_key, granted_head_key, head_key
from tsgb.checkpoints.lease import Change, advance, take_over
from tsgb.checkpoints.retention import all_commits
from tsgb.checkpoints.retention import delete_commits as delete
from tsgb.errors import TsgbError
from tsgb.records.run import Head, Lease, Manifest

Parts = Mapping[str, Callable[..., Any]]
"""What stands in whose place, by its name in `tsgb.checkpoints`."""


class Variant(NamedTuple):
    """One way to break it."""

    parts: Parts
    scenario: str
    """Where that shows."""
    violates: str
    """How."""
    faults: int = 0
    """How many it takes."""

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Break it until the end of the block."""
        with ExitStack() as stack:
            for name, part in self.parts.items():
                stack.enter_context(patch(f"tsgb.checkpoints.{name}", part))
            yield


def move_blindly(store: Any, run: str, seen: Seen, new: Head, *, granted: bool) -> None:
    """Put the head whatever is there."""
    store.overwrite(head_key(run), encode(sealed(new)))


def upload_files_only(store: Any, manifest: Manifest, folder: Any) -> None:
    """Leave the manifest for later."""
    store.put_files({commit_key(manifest.run, manifest.commit, name): folder / name for name in manifest.files})
    store.notes["manifest"] = manifest


def advance_before_manifest(store: Any, lease: Lease, seen: Seen, change: Mapping[str, object]) -> None:
    """Move the head, then put the manifest that it names."""
    advance(store, lease, seen, change)
    manifest = store.notes["manifest"]
    store.put_new(commit_key(manifest.run, manifest.commit, MANIFEST), encode(manifest))


def delete_unreferenced(store: Any, run: str, commits: Iterable[str]) -> None:
    """Delete whatever the head does not name."""
    head = read_head(store, run).head
    line = {each.commit for each in (head.line if head else ())}
    delete(store, run, [commit for commit in all_commits(store, run) if commit not in line])


def advance_or_clean_up(store: Any, lease: Lease, seen: Seen, change: Mapping[str, Any]) -> None:
    """Remove the commit that seems not to have come to anything."""
    try:
        advance(store, lease, seen, change)
    except TsgbError:
        delete(store, lease.run, [change["commit"]])
        raise


def advance_uncounted(store: Any, lease: Lease, seen: Seen, change: Mapping[str, object]) -> None:
    """Move the head without counting the moves."""
    assert seen.head is not None
    advance(store, lease, seen, {**change, "seq": seen.head.seq})


def go_back_without_a_new_epoch(store: Any, run: str, owner: str, change: Change) -> Lease:
    """Put the head back and leave its writer in office."""
    return take_over(store, run, owner, lambda head: {**_as_it_was(head), **change(head)})


def _as_it_was(head: Head) -> dict[str, object]:
    return {name: getattr(head, name) for name in ("seq", "epoch", "owner", "nonce")}


def advance_from_a_fresh_head(store: Any, lease: Lease, seen: Seen, change: Mapping[str, object]) -> None:
    """Move whatever head there is now, not the one seen before the upload."""
    now = read_head(store, lease.run)
    assert now.head is not None
    moved = sealed(now.head.model_copy(update={"seq": now.head.seq + 1, **change}))
    store.compare_and_set(head_key(lease.run), now.data, encode(moved))


def delete_then_advance(store: Any, lease: Lease, seen: Seen, change: Mapping[str, Any]) -> None:
    """Delete what the next head will not name, and then move the head."""
    assert seen.head is not None
    delete(store, lease.run, [each.commit for each in seen.head.line if each not in change["kept"]])
    advance(store, lease, seen, change)


def move_granted_unchecked(store: Any, run: str, seen: Seen, new: Head, *, granted: bool) -> None:
    """Put a granted head without asking afterwards whether a newer epoch was granted meanwhile."""
    store.put_new(granted_head_key(run, new.epoch, new.seq), encode(sealed(new)))


_UPLOAD = {"publish._upload": upload_files_only, "publish.advance": advance_before_manifest}
_UNCOUNTED = {"publish.advance": advance_uncounted, "rollback.take_over": go_back_without_a_new_epoch}
_UNCHECKED = {"lease.move_head": move_granted_unchecked}

VARIANTS = {
    "blind head": Variant({"lease.move_head": move_blindly}, "two writers", "has two owners"),
    "head before manifest": Variant(_UPLOAD, "two writers", "named by the head and has no manifest"),
    "everything unreferenced": Variant({"publish.delete_commits": delete_unreferenced}, "two writers", "under way"),
    "the fenced clean up": Variant({"publish.advance": advance_or_clean_up}, "two writers", "under way", faults=1),
    "no seq, no new epoch": Variant(_UNCOUNTED, "first commit, rollback", "left the line and came back", faults=1),
    "a fresh head": Variant({"publish.advance": advance_from_a_fresh_head}, "two writers", "committed in epoch 3"),
    "delete first": Variant({"publish.advance": delete_then_advance}, "two writers", "named by the head and has no"),
    "granted, unchecked": Variant(_UNCHECKED, "granted: two writers", "never on the line"),
}
