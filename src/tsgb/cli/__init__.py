"""How a person reaches the rest: each command reads settings, imports what it needs late, makes one call and prints."""
