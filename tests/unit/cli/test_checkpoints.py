"""`tsgb checkpoints`: commits are listed, taken, checked, kept, gone back to; a mistake is one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tsgb.checkpoints import Journal, acquire, grant, latest
from tsgb.checkpoints.encoding import encode
from tsgb.checkpoints.heads import read_head, sealed
from tsgb.checkpoints.layout import commit_key, head_key
from tsgb.cli.checkpoints import look
from tsgb.errors import Fenced
from tsgb.records.run import SCHEMA, Head, Kept, Manifest
from tsgb.report.bundles import find_bundle
from tsgb.storage import LocalStore

from .conftest import Publish, Rows, Say

WITH_A_COMMIT = ("show", "verify", "pull", "export", "pin", "unpin", "quarantine", "rollback")
WITH_A_RUN = ("list", "resume-point", "gc", "repair", *WITH_A_COMMIT)


def path_of(store: LocalStore, manifest: Manifest, name: str) -> Path:
    return store.root / commit_key("demo", manifest.commit, name)


def flip(path: Path, byte: int = 7) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


class Counting(LocalStore):
    """Counts what a remote store would be asked."""

    asked: int = 0

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self.asked += 1
        return super().get(key, start, stop)

    def list(self, prefix: str) -> list[str]:
        self.asked += 1
        return [*super().list(prefix)]


class Blind(LocalStore):
    """A store whose compare-and-set does not hold."""

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        super().compare_and_set(key, self.get(key) if self.exists(key) else None, new)


def test_commits_are_listed_newest_first_with_their_marks(commit: Publish, say: Say, rows: Rows) -> None:
    made = [commit(step).commit for step in range(3)]
    say("pin", "demo", made[0])
    say("quarantine", "demo", made[1])
    assert [(row["commit"], row["step"], row["marks"]) for row in rows("list", "demo")] == [
        (made[2], 2, "newest"),
        (made[1], 1, "quarantine"),
        (made[0], 0, "pinned"),
    ]
    table = say("list", "demo", "--limit", "2")
    assert made[1] in table
    assert made[0] not in table
    assert "2 of 3 commits; --limit 0 shows all." in table


def test_a_long_chain_is_listed_with_four_requests(
    store: LocalStore, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = tuple(Kept(commit=f"e1/r0-train-s{n}-0123abcd", manifest_digest=f"{n:064x}") for n in range(10_000, 0, -1))
    newest = {"commit": line[0].commit, "manifest_digest": line[0].manifest_digest}
    head = Head(schema=SCHEMA, seq=0, epoch=1, owner="ada", nonce="0123abcd", kept=line[1:], **newest)
    store.compare_and_set(head_key("demo"), None, encode(sealed(head)))
    counting = Counting(store.root)
    chosen_run = look.chosen_run
    monkeypatch.setattr(look, "chosen_run", lambda *chosen: (counting, chosen_run(*chosen)[1]))
    assert "20 of 10000 commits" in say("list", "demo")
    assert counting.asked == 3, "beside the one for the run's record"


def test_a_commit_is_shown_with_what_it_promises(commit: Publish, say: Say, rows: Rows) -> None:
    first, second = commit(1), commit(2)
    shown = rows("show", "demo")
    assert Manifest.model_validate(shown["manifest"]) == second
    assert (shown["on_chain"], shown["pinned"], shown["quarantine"]) == (True, False, None)
    say("quarantine", "demo", second.commit, "--reason", "the loss was nan")
    table = say("show", "demo", "r0-train-s2")
    assert all(words in table for words in (second.files["guard"].blake3, first.commit, "the loss was nan"))


def test_a_commit_is_named_by_its_beginning_with_or_without_its_epoch(commit: Publish, rows: Rows, say: Say) -> None:
    first, tenth = commit(1), commit(10)
    for name, manifest in ((first.commit, first), ("r0-train-s1-", first), ("e2/", tenth), ("r0-train-s10", tenth)):
        assert rows("show", "demo", name)["manifest"]["nonce"] == manifest.nonce
    sentence = f"'r0-train-s1' may be any of 2 commits of run 'demo' ({tenth.commit}, {first.commit}); write more"
    assert say("show", "demo", "r0-train-s1", code=2).startswith(sentence)


@pytest.mark.parametrize("command", WITH_A_COMMIT)
def test_an_unknown_commit_is_one_sentence(commit: Publish, say: Say, command: str) -> None:
    commit(1)
    sentence = "There is no commit 'r9' in run 'demo'; `tsgb checkpoints list demo` shows what is.\n"
    assert say(command, "demo", "r9", code=2) == sentence


@pytest.mark.parametrize("command", WITH_A_RUN)
def test_an_unknown_run_and_a_store_that_is_not_there_are_one_sentence(
    store: LocalStore, say: Say, command: str
) -> None:
    commit = ("r0",) if command in WITH_A_COMMIT else ()
    assert say(command, "dmeo", *commit, code=2).endswith("; choose one of: demo.\n")
    nowhere = store.root / "nowhere"
    sentence = f"There is no folder {nowhere}; name the one that holds runs/.\n"
    assert say(command, "demo", *commit, code=2, storage=nowhere) == sentence


@pytest.mark.parametrize("command", ["list", "show", "verify", "pull", "pin", "rollback", "resume-point"])
def test_a_damaged_head_is_one_sentence_with_the_cure(
    store: LocalStore, commit: Publish, say: Say, command: str
) -> None:
    made = commit(1).commit
    flip(store.root / head_key("demo"), 60)
    arguments = (made,) if command in ("pin", "rollback") else ()
    assert "`tsgb checkpoints repair demo` builds it anew" in say(command, "demo", *arguments, code=1)


@pytest.mark.parametrize("loss", ["damaged", "lost"])
def test_a_head_is_repaired_once(store: LocalStore, commit: Publish, say: Say, loss: str) -> None:
    made = [commit(step).commit for step in range(3)]
    head = store.root / head_key("demo")
    flip(head, 60) if loss == "damaged" else head.unlink()
    assert "repair demo` builds it anew" in say("list", "demo", code=1)
    assert f"(epoch 4) from 3 commits.\nThe newest is {made[2]}; " in say("repair", "demo")
    assert say("repair", "demo") == "The head of run demo is whole; nothing was done.\n"
    assert latest(store, "demo", 0, "train").manifest is not None


def test_a_run_without_commits_says_so(say: Say, rows: Rows) -> None:
    assert rows("list", "demo") == []
    assert say("list", "demo") == "Run demo has no commit yet; tsgb status demo says how far it is.\n"
    assert say("show", "demo", code=2) == "Run 'demo' has no commit yet; tsgb status demo says how far it is.\n"
    assert "begins at its beginning" in say("resume-point", "demo")
    assert "verified: 0 (0 files, 0 bytes)" in say("verify", "demo")


def test_every_byte_is_verified_and_what_is_damaged_is_named(
    store: LocalStore, commit: Publish, say: Say, rows: Rows
) -> None:
    made = [commit(step) for step in range(4)]
    assert "verified: 4 (8 files, " in say("verify", "demo")
    flip(path_of(store, made[0], "guard"))
    path_of(store, made[1], "optim_guard").unlink()
    flip(path_of(store, made[2], "manifest.json"), 40)
    said = say("verify", "demo", code=1)
    assert f"{made[0].commit}: runs/demo/commits/{made[0].commit}/guard should be 160 bytes, blake3" in said
    assert f"there is no «runs/demo/commits/{made[1].commit}/optim_guard»" in said
    assert f"{made[2].commit}: runs/demo/commits/{made[2].commit}/manifest.json should have blake3" in said
    assert said.endswith("; damaged: 3.\n")
    found = {row["commit"]: len(row["damage"]) for row in rows("verify", "demo", code=1)}
    assert found == {made[0].commit: 1, made[1].commit: 1, made[2].commit: 1, made[3].commit: 0}
    assert "verified: 1 (2 files, " in say("verify", "demo", made[3].commit)
    say("verify", "demo", made[0].commit, code=1)


def test_a_commit_is_pulled_whole_or_not_at_all(store: LocalStore, commit: Publish, say: Say, tmp_path: Path) -> None:
    first, second = commit(1), commit(2)
    assert f"{second.commit}: 2 files, " in say("pull", "demo")
    pulled = Path(f"checkpoints/demo-{second.commit.replace('/', '-')}")
    assert {path.name: path.read_bytes() for path in pulled.iterdir()} == {
        name: path_of(store, second, name).read_bytes() for name in ("guard", "optim_guard", "manifest.json")
    }
    assert say("pull", "demo", code=2) == f"{pulled} exists already; name a new folder.\n"
    flip(path_of(store, first, "guard"))
    assert "guard should be 160 bytes" in say("pull", "demo", first.commit, "--out", str(tmp_path / "out/it"), code=1)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(commit: Publish, say: Say, tmp_path: Path) -> None:
    commit(1)
    (tmp_path / "file").touch()
    out = tmp_path / "file/out"
    sentence = f"{out} cannot be written (File exists); name another folder.\n"
    assert say("pull", "demo", "--out", str(out), code=2) == sentence


def test_the_accepted_bundle_is_exported_as_peft_loads_it(store: LocalStore, commit: Publish, say: Say) -> None:
    trained, bundle = commit(1), commit(0, "guards")
    sentence = "Run 'demo' has no accepted defender; to export one all the same, name a commit of the stage guards"
    assert say("export", "demo", code=2).startswith(sentence)
    Journal(store, "demo").finish(0, "gates", {"accepted": True, "bundle": bundle.commit})
    commit(1, "train", n=1)
    assert "adapter_config.json, adapter_model.safetensors in mine" in say("export", "demo", "--out", "mine")
    assert sorted(path.name for path in Path("mine").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert find_bundle(Path("mine")).folder == Path("mine")
    sentence = f"{trained.commit} is a commit of the stage train, and only bundles are adapters; take one of the stage"
    assert say("export", "demo", trained.commit, code=2).startswith(sentence)


def test_what_is_pinned_outlives_the_collection_of_what_nothing_needs(
    store: LocalStore, commit: Publish, say: Say, rows: Rows
) -> None:
    lease = acquire(store, "demo", "ada")
    made = [commit(step, lease=lease).commit for step in range(6)]
    assert say("pin", "demo", "r0-train-s0", "--reason", "the one in the paper") == f"{made[0]} is pinned.\n"
    keep = ("gc", "demo", "--keep-last", "2")
    assert [row["commit"] for row in rows(*keep, "--dry-run")] == made[3:0:-1]
    commit(6, lease=lease)  # a dry run has fenced nobody
    assert "4 deleted" in say(*keep)
    with pytest.raises(Fenced):
        commit(7, lease=lease)
    assert [row["commit"] for row in rows("list", "demo")][1:] == [made[5], made[0]]
    epoch = read_head(store, "demo").head
    assert say(*keep) == "There is nothing to collect.\n"
    assert rows(*keep) == []
    assert read_head(store, "demo").head == epoch, "nothing was collected, so nobody is fenced"
    assert say("unpin", "demo", made[0]) == f"{made[0]} is pinned no more.\n"
    assert say("unpin", "demo", made[0]) == f"{made[0]} was not pinned.\n"
    assert rows(*keep) == [{"commit": made[0]}]


def test_as_many_commits_are_kept_as_the_settings_say(commit: Publish, say: Say, rows: Rows) -> None:
    for step in range(6):
        commit(step)
    Path("tsgb.toml").write_text("[run]\nkeep_last = 4\n")
    assert len(rows("gc", "demo")) == 2
    assert "--keep-last" in say("gc", "demo", "--keep-last", "1", code=2)


def test_going_back_leaves_what_was_newer_to_be_swept(store: LocalStore, commit: Publish, say: Say, rows: Rows) -> None:
    lease = acquire(store, "demo", "ada")
    made = [commit(step, lease=lease).commit for step in range(4)]
    assert say("gc", "demo", "--fenced") == "There is nothing to collect.\n"
    assert say("rollback", "demo", made[1]) == f"{made[1]} is the newest commit now (epoch 2); 2 left the chain.\n"
    with pytest.raises(Fenced):
        commit(4, lease=lease)
    assert [row["commit"] for row in rows("list", "demo")] == [made[1], made[0]]
    assert not rows("show", "demo", made[3])["on_chain"]
    assert f"{made[3]} is not on the chain of run «demo»" in say("rollback", "demo", made[3], code=2)
    assert [row["commit"] for row in rows("gc", "demo", "--fenced", "--dry-run")] == made[2:]
    assert [row["commit"] for row in rows("gc", "demo", "--fenced")] == made[2:]
    assert "verified: 2 (4 files, " in say("verify", "demo")
    say("show", "demo", made[3], code=2)


def test_the_resume_point_passes_over_what_is_in_quarantine(commit: Publish, say: Say, rows: Rows) -> None:
    first, second = commit(1).commit, commit(2).commit
    assert say("resume-point", "demo") == f"{second}\n"
    assert "in quarantine; tsgb checkpoints resume-point demo says" in say("quarantine", "demo", second)
    assert say("resume-point", "demo") == f"commit {second} is in quarantine: by hand\n{first}\n"
    assert rows("resume-point", "demo")[0]["commit"] == first


def test_epochs_are_granted_only_where_the_store_cannot_fence(store: LocalStore, say: Say, rows: Rows) -> None:
    assert "its epochs need no granting" in say("grant", "new", code=1)
    grant(Blind(store.root), "demo", "manager")
    assert "Epoch 2 of run demo is granted: --set run.granted_epoch=2" in say("grant", "demo")
    assert rows("grant", "demo")["epoch"] == 3
    assert acquire(store, "demo", "ada", granted_epoch=3).epoch == 3


def test_a_damaged_head_below_a_granted_epoch_is_not_written_over(store: LocalStore, commit: Publish, say: Say) -> None:
    epoch = grant(Blind(store.root), "demo", "manager").epoch
    commit(1, lease=acquire(store, "demo", "ada", granted_epoch=epoch))
    heads = sorted((store.root / "runs/demo/epochs/1/heads").iterdir())
    flip(heads[-1], 60)
    assert f"{heads[-1].name} is damaged" in say("repair", "demo", code=1)
    heads[-1].unlink()
    assert "has no commit to go on from" in say("resume-point", "demo")


def test_commits_are_looked_at_taken_and_kept_without_a_gpu_stack(store: LocalStore, commit: Publish) -> None:
    code = (
        "import sys\nfrom tsgb.cli.main import run\n"
        "place = ['demo', '--storage', sys.argv[1]]\n"
        "for command in ('list', 'show', 'verify', 'resume-point', 'pull', 'export', 'gc', 'repair'):\n"
        "    assert run(['checkpoints', command, *place]) == 0, command\n"
        "for command in ('pin', 'unpin', 'quarantine', 'rollback'):\n"
        "    assert run(['checkpoints', command, *place, 'r0-guards']) == 0, command\n"
        "assert not {'torch', 'transformers', 'peft', 'safetensors', 'deepspeed'} & set(sys.modules)"
    )
    bundle = commit(0, "guards").commit
    Journal(store, "demo").finish(0, "gates", {"accepted": True, "bundle": bundle})
    ran = subprocess.run([sys.executable, "-c", code, str(store.root)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
