"""Harnesses as targets: programs at the other end of a pipe, in C or in Python."""
