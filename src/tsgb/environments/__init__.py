"""The worlds agents act in; each is data plus one object that executes tool calls and checks its own state."""
