"""What a person looks at: how far a run is, what its exams say, what was said in its dialogues. Reads storage only."""
