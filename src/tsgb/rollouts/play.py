"""Play scenarios to their end, many at a time: the agent writes, its calls are executed, the results are read back.

Every turn is one batched completion over the episodes still running. The world that an episode changed judges it at
once, so no state outlives the episode. An agent that is still calling tools after `max_turns` is judged on the state
it leaves behind, with nothing said. A dialogue that the model cannot go on with (its template refuses it, or it does
not fit into its context) ends with the error and counts neither way; the others go on without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tsgb.environments.base import Environment, World
from tsgb.errors import ModelError
from tsgb.judging.tool_calls import parse
from tsgb.judging.verdicts import judge
from tsgb.records.dialogue import Message, Scenario, Trajectory
from tsgb.rollouts.engines.base import Engine, Sampling


@dataclass
class _Episode:
    scenario: Scenario
    world: World
    messages: list[Message] = field(default_factory=list)
    running: bool = True
    error: str | None = None

    def dialogue(self) -> tuple[Message, ...]:
        return (*self.scenario.messages, *self.messages)

    def prefill(self) -> str:
        return "" if self.messages else self.scenario.prefill

    def fail(self, error: str) -> None:
        """End without a word more."""
        self.error, self.running = error, False

    def hear(self, text: str) -> None:
        """Take the agent's words: execute its calls, or end with its reply."""
        content, calls, _ = parse(text)
        self.messages.append(Message(role="assistant", content=content if calls else text, tool_calls=calls))
        self.messages += [Message(role="tool", content=self.world.call(call), name=call.name) for call in calls]
        self.running = bool(calls)


def play(
    engine: Engine,
    environment: Environment,
    scenarios: Sequence[Scenario],
    *,
    adapter: str | None,
    sampling: Sampling | None = None,
    max_turns: int = 6,
) -> list[Trajectory]:
    """One judged trajectory for each scenario, in order."""
    episodes = [_Episode(scenario, environment.open(scenario)) for scenario in scenarios]
    sampling = sampling or Sampling()
    for _ in range(max_turns):
        if not (running := [episode for episode in episodes if episode.running]):
            break
        _turn(engine, environment, running, adapter, sampling)
    return [_finished(episode, adapter, sampling) for episode in episodes]


def require_finished(trajectories: list[Trajectory]) -> list[Trajectory]:
    """The same trajectories; raises the first one's `ModelError` when every one of them ended in an error."""
    errors = [trajectory.error for trajectory in trajectories if trajectory.error is not None]
    if errors and len(errors) == len(trajectories):
        raise ModelError(errors[0])
    return trajectories


def _turn(
    engine: Engine, environment: Environment, episodes: Sequence[_Episode], adapter: str | None, sampling: Sampling
) -> None:
    """One turn of all episodes at once; where the model refuses, of each half, until what it refuses stands alone."""
    try:
        completions = engine.complete(
            [episode.dialogue() for episode in episodes],
            tools=environment.tools,
            adapter=adapter,
            prefills=[episode.prefill() for episode in episodes],
            sampling=sampling,
        )
    except ModelError as error:
        if len(episodes) == 1:
            episodes[0].fail(str(error))
            return
        middle = len(episodes) // 2
        for half in (episodes[:middle], episodes[middle:]):
            _turn(engine, environment, half, adapter, sampling)
        return
    for episode, completion in zip(episodes, completions, strict=True):
        episode.hear(completion.text)


def _finished(episode: _Episode, adapter: str | None, sampling: Sampling) -> Trajectory:
    trajectory = Trajectory(
        scenario=episode.scenario,
        target=adapter or "base",
        messages=tuple(episode.messages),
        seed=sampling.seed,
        error=episode.error,
    )
    return trajectory.model_copy(update={"verdict": judge(trajectory, episode.world)})
