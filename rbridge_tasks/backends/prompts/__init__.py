"""Log-probabilities of prompts from an engine or a server: how they are asked for, read and checked."""
