"""Compilers, and what the machine has."""
