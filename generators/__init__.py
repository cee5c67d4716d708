"""Inputs: reusable samplers, and one file an operator that lists its classes of cases."""
