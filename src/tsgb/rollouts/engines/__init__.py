"""Where an agent's words come from: engines behind one protocol, each a small file."""
