"""Play scenarios to their end, many at a time: the agent writes, its calls are executed, the results are read back.

Every turn is one batched completion over the episodes still running. The world that an episode changed judges it at
once, so no state outlives the episode. An agent that is still calling tools after `max_turns` is judged on the state
it leaves behind, with nothing said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tsgb.environments.base import Environment, World
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

    def dialogue(self) -> tuple[Message, ...]:
        return (*self.scenario.messages, *self.messages)

    def prefill(self) -> str:
        return "" if self.messages else self.scenario.prefill

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


def _turn(
    engine: Engine, environment: Environment, episodes: Sequence[_Episode], adapter: str | None, sampling: Sampling
) -> None:
    completions = engine.complete(
        [episode.dialogue() for episode in episodes],
        tools=environment.tools,
        adapter=adapter,
        prefills=[episode.prefill() for episode in episodes],
        sampling=sampling,
    )
    for episode, completion in zip(episodes, completions, strict=True):
        episode.hear(completion.text)


def _finished(episode: _Episode, adapter: str | None, sampling: Sampling) -> Trajectory:
    trajectory = Trajectory(
        scenario=episode.scenario, target=adapter or "base", messages=tuple(episode.messages), seed=sampling.seed
    )
    return trajectory.model_copy(update={"verdict": judge(trajectory, episode.world)})
