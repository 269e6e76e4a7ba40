"""Answers: what right ones look like to a model, what it gave, and whether that is right."""
