"""Hooks of the trainer: what happens around its steps."""
