"""What happened in a trajectory: tool calls, refusals, verdicts, how sure a rate is; pure, shared by all that ask."""
