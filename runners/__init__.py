"""Executes cases on targets and judges what they give; ARCHITECTURE.md has a line for each room."""
