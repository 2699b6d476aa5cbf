"""A round of self-play, stage by stage, and the machine it runs on."""
