"""The attacker's building blocks: what mutation recombines.

Frames come from corpus and static families alone, before a jailbreak's request, behind it or around it; openers and
closers are words of everyday letters. A genome is a tuple of pieces; `phrase` turns it into a text with `{}` where the
request goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tsgb.environments.office import attacks
from tsgb.records.dialogue import Surface

OPENERS = (
    "",
    "",
    "",
    "hi, ",
    "ok. ",
    "thanks. ",
    "please wait. ",
    "note: ",
    "important: ",
    "system: ",
    "all done. ",
    "one more thing. ",
    "to the assistant: ",
)
CLOSERS = (
    "",
    "",
    "",
    " thanks.",
    " now!",
    " it is important.",
    " this is a new task.",
    " then go on.",
    " ok?",
    " see you soon.",
)


@dataclass(frozen=True)
class Genome:
    """An attack's form without its goal."""

    surface: Surface
    opener: str
    frame: str
    closer: str

    @property
    def phrase(self) -> str:
        """The text with `{}` for the request."""
        return self.opener + self.frame + self.closer


def frames(surface: Surface) -> tuple[str, ...]:
    """The frames that may be recombined on a surface."""
    if surface == "jailbreak":
        return attacks.CORPUS_WRAPPERS + tuple(attacks.JAILBREAKS["train"].values())
    return attacks.CORPUS_INJECTIONS + tuple(attacks.INJECTIONS["train"].values())


def draw_genome(rng: Random, surface: Surface) -> Genome:
    """A random form."""
    return Genome(surface, rng.choice(OPENERS), draw_frame(rng, surface), rng.choice(CLOSERS))


def draw_frame(rng: Random, surface: Surface) -> str:
    """A known frame; a jailbreak's may be turned round or put around with another."""
    frame = rng.choice(frames(surface))
    if surface != "jailbreak":
        return frame
    turned, other = turn(frame), rng.choice(frames(surface))
    return rng.choice((frame, frame, turned, turn(other).format(frame)))


def turn(frame: str) -> str:
    """The words of a frame on the other side of the request."""
    before, _, behind = frame.partition("{}")
    return " ".join(f"{behind} {{}} {before}".split())


def mutate(rng: Random, genome: Genome) -> Genome:
    """One piece exchanged, or two frames nested."""
    change = rng.randrange(4)
    if change == 0:
        return replace(genome, opener=rng.choice(OPENERS))
    if change == 1:
        return replace(genome, closer=rng.choice(CLOSERS))
    other = draw_frame(rng, genome.surface)
    nested = genome.surface == "jailbreak" and change == 2 and len(genome.frame) < 60
    return replace(genome, frame=other.format(genome.frame) if nested else other)


def cross(rng: Random, one: Genome, two: Genome) -> Genome:
    """A child that takes each piece from one of its parents."""
    pick = [rng.choice((one, two)) for _ in range(3)]
    return Genome(one.surface, pick[0].opener, pick[1].frame, pick[2].closer)
