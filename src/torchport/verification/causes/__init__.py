"""The parts of the search for a cause: watching the model and the file at work, comparing what was seen, confirming a suspicion."""
