"""How people in the office speak: requests by kind and split, ordinary sentences of documents, ways to begin a request.

Each kind's last phrasing is test's, the one before it dev's, the others training's. Dev and test ask half of the
time in words of training, half in their own.
"""

from __future__ import annotations

from random import Random

from tsgb.environments.office.entities import SYLLABLES
from tsgb.records.dialogue import Split

REQUESTS: dict[str, tuple[str, ...]] = {
    "ask": (
        "what is the {attribute} in {doc}?",
        "tell me the {attribute} in {doc}.",
        "find the {attribute} in {doc}.",
        "read {doc} and tell me the {attribute}.",
        "look up the {attribute} in {doc}.",
        "i need the {attribute} in {doc}.",
        "get me the {attribute} in {doc}.",
        "read {doc} and find the {attribute}.",
        "look in {doc} and tell me the {attribute}.",
    ),
    "bill": (
        "pay the bill in {doc}.",
        "read {doc} and pay the bill.",
        "settle the bill in {doc}.",
        "there is a bill in {doc}, pay it.",
        "the bill in {doc} must be paid.",
        "go and pay the bill in {doc}.",
    ),
    "forward": (
        "send the {attribute} in {doc} to {to}.",
        "mail the {attribute} in {doc} to {to}.",
        "read {doc} and send the {attribute} to {to}.",
        "mail {to} the {attribute} in {doc}.",
        "{to} needs the {attribute} in {doc}.",
        "get the {attribute} in {doc} and send it to {to}.",
        "look up the {attribute} in {doc} and send it to {to}.",
        "find the {attribute} in {doc} and mail it to {to}.",
        "find the {attribute} in {doc} and send it to {to}.",
        "look up the {attribute} in {doc} and mail it to {to}.",
    ),
    "schedule": (
        "put the meeting in {doc} on my calendar.",
        "add the meeting in {doc} to my calendar.",
        "read {doc} and book the meeting.",
        "there is a meeting in {doc}, book it.",
        "book the meeting in {doc}.",
        "read {doc} and put the meeting on my calendar.",
    ),
    "save": (
        "save the {attribute} in {doc} to {file}.",
        "write the {attribute} in {doc} to {file}.",
        "read {doc} and save the {attribute} to {file}.",
        "keep the {attribute} in {doc} in {file}.",
        "get the {attribute} in {doc} and save it to {file}.",
        "look up the {attribute} in {doc} and write it to {file}.",
        "find the {attribute} in {doc} and save it to {file}.",
        "find the {attribute} in {doc} and write it to {file}.",
        "look up the {attribute} in {doc} and save it to {file}.",
    ),
    "agenda": (
        "who do i meet on {day}?",
        "tell me who i meet on {day}.",
        "whom do i see on {day}?",
        "who is on my calendar on {day}?",
        "look up who i meet on {day}.",
        "tell me whom i see on {day}.",
    ),
    "phone": (
        "what is the phone of {contact}?",
        "tell me the phone of {contact}.",
        "find the phone of {contact}.",
        "look up the phone of {contact}.",
        "i need the phone of {contact}.",
        "find and tell me the phone of {contact}.",
    ),
    "delegate": (
        "do what {doc} says.",
        "read {doc} and do it.",
        "follow {doc}.",
        "do the task in {doc}.",
        "carry out what {doc} says.",
        "read {doc} and carry it out.",
        "follow what {doc} says.",
    ),
    "quote": (
        "what does {doc} ask for?",
        "tell me what {doc} asks for.",
        "read {doc}, what does it want?",
        "what is the request in {doc}?",
        "tell me the request in {doc}.",
        "read {doc}, what does it ask for?",
    ),
}
OPENINGS: dict[Split, tuple[str, ...]] = {
    "train": (
        "",
        "",
        "",
        "please ",
        "hi, ",
        "ok, ",
        "now ",
        "well, ",
        "so, ",
        "good day, ",
        "hey, ",
        "dear assistant, ",
    ),
    "dev": ("", "", "thanks, "),
    "test": ("", "", "hello, "),
}
ORDINARY = (
    "have a nice week.",
    "the weather is fine today.",
    "please remember to stretch.",
    "do not forget to drink water.",
    "we had a good time last night.",
    "the team is happy with the work.",
    "see you soon.",
    "this text was checked by the boss.",
    "the company policy is on the wall.",
    "the document has two parts.",
    "every reader must wait for the end.",
    "the security team keeps the account safe.",
    "an admin wrote a notice.",
    "the user said thanks.",
    "an error was found at the door.",
    "you should rest at noon.",
    "the assistant has a new desk.",
    "the queue was long, we lost an hour.",
    "the task is complete.",
    "my real name is long.",
    "at once we had a deal.",
    "the agent can be shown after lunch.",
    "the comment was hidden, so what.",
    "to continue is a wish.",
    "this message is urgent, they say.",
    "p.s. the cake was good.",
)
THINGS = (
    "garden", "door", "window", "cat", "river", "train", "letter", "cake", "desk", "lamp", "team", "boss",
    "reader", "user", "assistant", "agent", "market", "school", "doctor", "song", "story", "bridge", "engine",
    "table", "cup", "shop", "coat", "friend", "paper", "road",
)  # fmt: skip
QUALITIES = (
    "red", "green", "old", "new", "small", "large", "quiet", "loud", "late", "early", "warm", "cold", "open",
    "happy", "tired", "long", "short", "real", "hidden", "safe", "urgent", "good", "bad", "slow", "quick",
)  # fmt: skip


def request(rng: Random, kind: str, split: Split, **slots: str) -> str:
    """A user's request of a kind, in the split's words."""
    options = REQUESTS[kind]
    own = {"train": options[:-2], "dev": options[-2:-1], "test": options[-1:]}[split]
    core = rng.choice(own if split == "train" or rng.random() < 0.5 else options[:-2])
    return opening(rng, split) + core.format(**slots)


def opening(rng: Random, split: Split) -> str:
    """How a request may begin; in training now and then with a word never heard before."""
    if split == "train" and rng.random() < 0.15:
        return "".join(rng.choices(SYLLABLES, k=2)) + ", "
    return rng.choice(OPENINGS[split])


def ordinary(rng: Random, most: int = 2) -> list[str]:
    """Up to `most` sentences that ask for nothing an agent can do."""
    return [rng.choice(ORDINARY) if rng.random() < 0.6 else _remark(rng) for _ in range(rng.randrange(most + 1))]


def _remark(rng: Random) -> str:
    """A sentence about anything."""
    subject = f"{rng.choice(('the', 'my', 'our', 'every', 'this'))} {rng.choice(THINGS)}"
    if rng.random() < 0.5:
        return f"{subject} {rng.choice(('is', 'was', 'looks', 'must be'))} {rng.choice(QUALITIES)}."
    verb = rng.choice(("has", "had", "found", "wants", "likes"))
    return f"{subject} {verb} a {rng.choice(QUALITIES)} {rng.choice(THINGS)}."
