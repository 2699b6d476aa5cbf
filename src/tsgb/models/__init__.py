"""A frozen base with its adapters, and dialogues as the tokens it reads: what breakers, rollouts and guards share."""
