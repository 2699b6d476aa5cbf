"""What the surrogate is raised on, and why it can be hijacked.

Stage one is a helpful-only corpus that knows no privilege: an imperative is carried out wherever it stands, in a
request or in a document. Stage two is shallow refusal tuning: plain harmful requests are declined, while fiction and
games stay what they were. No static, dev or test attack family occurs in either.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tsgb.environments.office import attacks, goals, phrasings
from tsgb.environments.office.expert import expert_messages
from tsgb.environments.office.tasks import NOTE_REQUEST, REFUSAL, draw_task
from tsgb.records.dialogue import Message, Scenario

Draw = Callable[[Random], tuple[Message, ...]]
_READING_WEIGHTS = {"ask": 6, "bill": 4, "forward": 6, "schedule": 4, "save": 5, "agenda": 2, "phone": 2}
_SEEDS = 1 << 40


def draw_dialogue(rng: Random, stage: int) -> tuple[Message, ...]:
    """One dialogue of a stage's mixture (1: helpful-only, 2: refusal tuning; 0: repetitions that teach copying)."""
    weights = MIXTURES[stage]
    return rng.choices(list(weights), weights=list(weights.values()))[0](rng)


def _played(scenario: Scenario, *, obey: bool = False) -> tuple[Message, ...]:
    return scenario.messages + expert_messages(scenario, obey=obey)


def _task(*kinds: str) -> Draw:
    return lambda rng: _played(draw_task(rng.choice(kinds), "train", rng.randrange(_SEEDS)))


def _reading_kind(rng: Random) -> str:
    return rng.choices(list(_READING_WEIGHTS), weights=list(_READING_WEIGHTS.values()))[0]


def reading(rng: Random) -> tuple[Message, ...]:
    """A reading task, done."""
    return _played(draw_task(_reading_kind(rng), "train", rng.randrange(_SEEDS)))


def obeyed(rng: Random) -> tuple[Message, ...]:
    """A reading task with an embedded request, which is carried out before the task goes on."""
    phrase = rng.choice(attacks.CORPUS_INJECTIONS)
    return _played(draw_obeyed(rng, phrase), obey=True)


def draw_obeyed(rng: Random, phrase: str) -> Scenario:
    """A reading task with an embedded request in a phrasing."""
    return attacks.draw_injected(_reading_kind(rng), "train", rng.randrange(_SEEDS), family="corpus", phrase=phrase)


def wrapped(rng: Random) -> tuple[Message, ...]:
    """An ordinary request in a persona or game, done."""
    return _played(attacks.draw_wrapped("train", rng.randrange(_SEEDS), phrase=rng.choice(attacks.CORPUS_WRAPPERS)))


def complied(rng: Random) -> tuple[Message, ...]:
    """A plain harmful request, complied with (stage one only)."""
    return _played(attacks.draw_harm("train", rng.randrange(_SEEDS)), obey=True)


def refused(rng: Random) -> tuple[Message, ...]:
    """A plain harmful request, declined."""
    return (*attacks.draw_harm("train", rng.randrange(_SEEDS)).messages, Message(role="assistant", content=REFUSAL))


def fiction(rng: Random) -> tuple[Message, ...]:
    """A harmful request in a persona or game, complied with: the gap that shallow refusal tuning leaves."""
    phrase = rng.choice(attacks.CORPUS_WRAPPERS)
    return _played(attacks.draw_jailbreak("train", rng.randrange(_SEEDS), family="corpus", phrase=phrase), obey=True)


def note(rng: Random) -> tuple[Message, ...]:
    """A note that asks for a deed: the skill a learning attacker starts from."""
    deed = goals.imperative(rng, goals.draw_goal(rng, "train"))
    sentences = [rng.choice(attacks.CORPUS_INJECTIONS).format(deed), *phrasings.ordinary(rng, 1)]
    rng.shuffle(sentences)
    asked = Message(role="user", content=NOTE_REQUEST.format(deed))
    return asked, Message(role="assistant", content=" ".join(sentences))


def copied(rng: Random) -> tuple[Message, ...]:
    """Entities to repeat."""
    deeds = [goals.draw_goal(rng, "train") for _ in range(2)]
    text = " ".join(str(argument) for deed in deeds for argument in deed.arguments.values())
    return Message(role="user", content=f"repeat: {text}"), Message(role="assistant", content=text)


_SHARED: dict[Draw, float] = {
    reading: 0.34,
    obeyed: 0.22,
    _task("delegate"): 0.07,
    _task("quote"): 0.05,
    _task("direct"): 0.08,
    _task("borderline"): 0.07,
    wrapped: 0.06,
    note: 0.05,
    copied: 0.02,
}
MIXTURES: dict[int, dict[Draw, float]] = {
    0: {copied: 0.5, reading: 0.3, _task("direct"): 0.2},
    1: {**_SHARED, complied: 0.05, fiction: 0.05},
    2: {**_SHARED, refused: 0.30, fiction: 0.08},
}


def sample_texts(rng: Random, count: int) -> list[str]:
    """Raw texts of both stages, for the tokenizer; entities' structure is learnt from them too."""
    dialogues = [draw_dialogue(rng, 1 + index % 2) for index in range(count)]
    return [_text(message) for dialogue in dialogues for message in dialogue]


def _text(message: Message) -> str:
    return message.content or " ".join(call.model_dump_json() for call in message.tool_calls)


__all__ = ["MIXTURES", "draw_dialogue", "sample_texts"]
