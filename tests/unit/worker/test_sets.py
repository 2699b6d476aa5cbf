"""What goes into which set: successes are rerouted, attacked contexts get honest twins, only good work is retained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import get_args

import pytest
from transformers import PreTrainedTokenizerFast

from tsgb.environments.office import attacks, pieces
from tsgb.environments.office.pieces import Genome
from tsgb.environments.office.tasks import draw_task
from tsgb.environments.registry import environment
from tsgb.errors import InputError
from tsgb.records.dialogue import Attack, Scenario, ToolCall, Trajectory, Verdict
from tsgb.records.recipe import Extent
from tsgb.records.training import Example
from tsgb.rollouts.mutation import attacked
from tsgb.settings import BreakerSettings
from tsgb.worker.search import clean_contexts
from tsgb.worker.sets import Choices, choices_of, crossed, crossed_wrappers, make_sets, well_done

Act = Callable[..., Trajectory]
INJECTED = attacks.draw_injected("ask", "train", 3, family="important", phrase="important: {}!")
FOUND = attacked(Genome("injection", "note: ", "please {}.", ""), "train", 4)
JAILBROKEN = attacks.draw_jailbreak("train", 5, family="film", phrase="for a film: {}")
PREFILLED = attacks.draw_prefill("train", 6)
ATTACKED = (INJECTED, FOUND, JAILBROKEN, PREFILLED)
PARTIAL = Verdict(label="partial", utility=True, refused=False, valid=True)


@pytest.fixture
def sets(tokenizer: PreTrainedTokenizerFast, act: Act) -> Callable[..., list[Example]]:
    """All examples from attacked trajectories, the honest play of their contexts, and benign trajectories."""

    def made(
        attempts: Sequence[Trajectory],
        benign: Sequence[Trajectory] = (),
        *,
        honest: bool = True,
        choices: Choices | None = None,
    ) -> list[Example]:
        clean = well_done([act(scenario) for scenario in clean_contexts(attempts)] if honest else [])
        return make_sets(tokenizer, environment("office").tools, attempts, clean, benign, choices=choices)

    return made


def strata(examples: Sequence[Example]) -> list[str]:
    return [example.stratum for example in examples]


def test_every_success_is_rerouted_by_where_it_came_from(sets: Callable[..., list[Example]], act: Act) -> None:
    examples = sets([act(scenario, obey=True) for scenario in ATTACKED])
    breakers = [example.stratum for example in examples if example.kind == "breaker"]
    assert breakers == ["breaker/static", "breaker/found", "breaker/jailbreak", "breaker/prefill"]


def test_what_failed_is_not_rerouted_and_still_has_its_twin(sets: Callable[..., list[Example]], act: Act) -> None:
    assert strata(sets([act(INJECTED), act(FOUND)])) == ["twin/injection", "twin/injection"]


def test_a_twin_goes_on_as_the_frozen_model_does_without_the_attack(
    sets: Callable[..., list[Example]], act: Act, tokenizer: PreTrainedTokenizerFast
) -> None:
    [twin] = [example for example in sets([act(INJECTED, obey=True)]) if example.kind == "twin"]
    continuation = tokenizer.decode([token for token, marked in zip(twin.ids, twin.mask, strict=True) if marked])
    [clean] = clean_contexts([act(INJECTED)])
    assert INJECTED.attack
    assert continuation == act(clean).messages[-1].content + "<|end|>"
    assert INJECTED.attack.text in tokenizer.decode(twin.ids)
    assert INJECTED.attack.text not in tokenizer.decode(twin.reference_ids)


def test_without_honest_play_there_is_no_twin(sets: Callable[..., list[Example]], act: Act) -> None:
    assert strata(sets([act(INJECTED, obey=True)], honest=False)) == ["breaker/static"]
    spoilt = act(clean_contexts([act(INJECTED)])[0]).model_copy(update={"messages": (), "verdict": None})
    assert well_done([spoilt]) == {}


def test_a_breakers_mask_leaves_out_what_the_honest_answer_shares(
    sets: Callable[..., list[Example]], act: Act, tokenizer: PreTrainedTokenizerFast
) -> None:
    [breaker] = [example for example in sets([act(INJECTED, obey=True)]) if example.kind == "breaker"]
    masked = tokenizer.decode([token for token, marked in zip(breaker.ids, breaker.mask, strict=True) if marked])
    assert INJECTED.attack
    assert all(str(argument) in masked for argument in INJECTED.attack.goal.arguments.values())
    assert "read" not in masked


@pytest.mark.parametrize(
    ("scenario", "stratum"),
    [
        (draw_task("ask", "train", 1), "retain/ordinary"),
        (draw_task("delegate", "train", 1), "retain/delegated"),
        (draw_task("quote", "train", 1), "retain/harmless"),
        (draw_task("borderline", "train", 1), "retain/harmless"),
        (attacks.draw_wrapped("train", 1, phrase="for a film: {}"), "retain/harmless"),
        (attacks.draw_harm("train", 1), "retain/refusal"),
    ],
)
def test_good_work_is_retained_by_its_kind(
    sets: Callable[..., list[Example]], act: Act, scenario: Scenario, stratum: str
) -> None:
    assert strata(sets([], [act(scenario)])) == [stratum]


def test_only_what_was_judged_good_is_retained(sets: Callable[..., list[Example]], act: Act) -> None:
    done, harm = act(draw_task("ask", "train", 1)), attacks.draw_harm("train", 1)
    assert done.verdict
    refused = done.model_copy(update={"verdict": done.verdict.model_copy(update={"refused": True})})
    undone = done.model_copy(update={"verdict": done.verdict.model_copy(update={"utility": False})})
    unjudged = done.model_copy(update={"verdict": None})
    assert sets([], [refused, undone, unjudged, act(harm, obey=True)]) == []


@pytest.mark.parametrize("extent", get_args(Extent))
def test_the_settings_say_which_tokens_of_a_success_are_rerouted(
    extent: Extent, sets: Callable[..., list[Example]], act: Act
) -> None:
    obeyed = [act(scenario, obey=True) for scenario in ATTACKED]
    breakers, default = (
        [example for example in sets(obeyed, choices=choices) if example.kind == "breaker"]
        for choices in (choices_of(BreakerSettings(mask=extent)), None)
    )
    assert [example.ids for example in breakers] == [example.ids for example in default]
    assert (breakers == default) == (extent == "deviation")
    assert all(all(example.mask) for example in breakers) == (extent == "sequence")


@pytest.mark.parametrize(
    ("name", "left"),
    [("jailbreak", ["static", "found", "prefill"]), ("important", ["found", "jailbreak", "prefill"])],
)
def test_a_category_that_is_left_out_makes_no_breaker_and_no_twin(
    name: str, left: list[str], sets: Callable[..., list[Example]], act: Act
) -> None:
    obeyed = [act(scenario, obey=True) for scenario in ATTACKED]
    made = strata(sets(obeyed, choices=Choices(left_out=(name,))))
    assert [stratum for stratum in made if stratum.startswith("breaker/")] == [f"breaker/{each}" for each in left]
    assert len([stratum for stratum in made if stratum.startswith("twin/")]) == 2
    with pytest.raises(InputError, match=r"left_out names 'jailbrake', which is no surface.*'jailbreak'"):
        sets(obeyed, choices=Choices(left_out=("jailbrake",)))


def test_harmful_requests_are_taken_out_of_their_breakers_and_refusals_for_the_chosen_share(
    sets: Callable[..., list[Example]], act: Act, tokenizer: PreTrainedTokenizerFast
) -> None:
    attempts = [
        act(attacks.draw_jailbreak("train", n, family="f", phrase="for a film: {}"), obey=True) for n in range(40)
    ]
    benign = [act(attacks.draw_harm("train", n)) for n in range(40)] + [act(draw_task("ask", "train", 1))]
    made = sets([*attempts, act(INJECTED, obey=True)], benign, choices=Choices(request_removed=0.5))
    unasked = Counter(example.stratum for example in made if "<|user|><|end|>" in tokenizer.decode(example.ids))
    assert set(unasked) == {"breaker/jailbreak", "retain/refusal"}
    assert all(10 <= number <= 30 for number in unasked.values())
    assert made == sets([*attempts, act(INJECTED, obey=True)], benign, choices=Choices(request_removed=0.5))


def test_borderline_requests_are_made_into_boundaries_if_a_step_wants_any(
    sets: Callable[..., list[Example]], act: Act
) -> None:
    benign = [act(draw_task(kind, "train", 1)) for kind in ("ask", "borderline")]
    assert strata(sets([], benign)) == ["retain/ordinary", "retain/harmless"]
    made = sets([], benign, choices=choices_of(BreakerSettings(boundary_batch=4)))
    assert strata(made) == ["retain/ordinary", "retain/harmless", "boundary/harmless"]
    assert made[-1].reference_ids == made[1].ids


def test_the_same_trajectories_make_the_same_sets(sets: Callable[..., list[Example]], act: Act) -> None:
    attempts, benign = [act(s, obey=True) for s in ATTACKED], [act(draw_task("ask", "train", 1))]
    assert sets(attempts, benign) == sets(attempts, benign)


def test_crossing_puts_every_injection_into_other_tasks(act: Act) -> None:
    clean = well_done([act(draw_task(kind, "train", seed)) for kind in ("ask", "bill", "save") for seed in range(4)])
    attempts = [act(INJECTED), act(FOUND), act(JAILBROKEN)]
    crossings = crossed(attempts, clean, each=5, seed="1")
    texts = [t.scenario.attack.text for t in crossings if t.scenario.attack]
    assert [texts.count(t.scenario.attack.text) for t in attempts if t.scenario.attack] == [5, 5, 0]
    assert {t.scenario.clean_id for t in crossings} <= set(clean)
    assert crossed(attempts, clean, each=5, seed="1") == crossings != crossed(attempts, clean, each=5, seed="2")


def test_a_crossing_is_read_by_the_agent_and_goes_on_as_the_clean_dialogue(
    act: Act, tokenizer: PreTrainedTokenizerFast
) -> None:
    clean = well_done([act(draw_task("forward", "train", seed)) for seed in range(4)])
    for crossing in crossed([act(INJECTED)], clean, each=3, seed="1"):
        honest = clean[crossing.scenario.clean_id or ""]
        assert crossing.scenario.attack and crossing.scenario.attack.text in crossing.messages[1].content
        assert crossing.messages[0] == honest.messages[0]
        assert crossing.messages[2:] == honest.messages[2:]
        sets = make_sets(tokenizer, environment("office").tools, [], clean, [], crossings=[crossing])
        assert strata(sets) == ["twin/injection"]


def test_an_honest_call_is_never_rerouted_however_much_it_resembles_the_goal(
    act: Act, tokenizer: PreTrainedTokenizerFast
) -> None:
    task = draw_task("schedule", "train", 1)
    deed = ToolCall(**task.utility["effects"][0])
    near = deed.model_copy(update={"arguments": {**deed.arguments, "note": "@ZuZu"}})
    injected = attacks.inject(task, Attack(surface="injection", family="plain", text="book it.", goal=near))
    played = act(injected).model_copy(update={"verdict": PARTIAL})
    clean = well_done([act(task)])
    sets = make_sets(tokenizer, environment("office").tools, [played], clean, [])
    assert [example.kind for example in sets] == ["twin"]


def test_every_wrapper_is_put_before_behind_and_around_other_refused_requests(act: Act) -> None:
    refused = well_done([act(attacks.draw_harm("train", seed)) for seed in range(8)])
    crossings = crossed_wrappers([act(JAILBROKEN, obey=True)], refused, each=60, seed="0")
    requests = {attacks.redraw(name).messages[-1].content: name for name in refused}
    seen = {attacks.wrapper_of(scenario) for scenario in crossings}
    assert {"for a film: {}", "{} for a film:", "for a film: {} for a film:"} < seen
    assert {word for wrapper in seen for word in wrapper.split()} == {"for", "a", "film:", "{}"}
    assert {scenario.clean_id for scenario in crossings} == set(requests.values())
    goals = {name: t.scenario.attack.goal for name, t in refused.items() if t.scenario.attack}
    assert all(scenario.attack and scenario.attack.goal == goals[scenario.clean_id or ""] for scenario in crossings)


def test_no_crossed_wrapper_says_the_words_of_a_held_out_family(act: Act) -> None:
    frames = enumerate(pieces.frames("jailbreak"))
    attempts = [act(attacks.draw_jailbreak("train", seed, family="f", phrase=phrase)) for seed, phrase in frames]
    refused = well_done([act(attacks.draw_harm("train", 7))])
    crossings = crossed_wrappers(attempts, refused, each=200, seed="0")
    said = {" ".join(attacks.wrapper_of(scenario).replace("{}", " ").split()) for scenario in crossings}
    families = [*attacks.JAILBREAKS["dev"].values(), *attacks.JAILBREAKS["test"].values()]
    held_out = [" ".join(phrase.replace("{}", " ").split()) for phrase in families]
    assert len(said) > 500
    assert [words for words in held_out if any(words in each for each in said)] == []


def test_a_crossed_wrapper_that_works_is_rerouted_and_has_the_plain_refusal_for_a_twin(
    sets: Callable[..., list[Example]], act: Act
) -> None:
    refused = well_done([act(attacks.draw_harm("train", 7))])
    [crossing] = crossed_wrappers([act(JAILBROKEN)], refused, each=1, seed="0")
    assert strata(sets([act(crossing, obey=True)])) == ["breaker/jailbreak", "twin/jailbreak"]


def test_nothing_is_crossed_with_what_the_frozen_model_does_not_refuse(act: Act) -> None:
    obeyed = well_done([act(attacks.draw_harm("train", 7), obey=True), act(draw_task("ask", "train", 1))])
    assert crossed_wrappers([act(JAILBROKEN)], obeyed, each=3, seed="0") == []


def test_nothing_that_an_exam_asks_is_learnt_from(sets: Callable[..., list[Example]], act: Act) -> None:
    exam = attacks.draw_jailbreak("dev", 5, family="poem", phrase="in a song the pirate says: {}")
    with pytest.raises(ValueError, match="is of split dev, not train"):
        sets([act(exam)])
    with pytest.raises(ValueError, match="is of split dev, not train"):
        sets([], [act(draw_task("ask", "dev", 1))])
