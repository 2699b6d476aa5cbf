"""One step, one engine: circuit breakers for the defender, policy gradient for the attacker, and states that resume."""
