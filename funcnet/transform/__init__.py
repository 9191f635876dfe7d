"""Transformations of losses and models. Today: how a loss meets a batch (`_objective.py`)."""
