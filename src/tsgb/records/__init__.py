"""What is passed on from stage to stage: immutable records that survive a trip through JSON unchanged."""
