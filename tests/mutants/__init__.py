"""Defective and legal variants of the bundled C kernels, and the program that shows which of them are told apart.

Each variant is one small change of the kernels' sources, given as text that must occur there: a kernel that was
rewritten makes its variants errors, never silent copies of the healthy kernel.
"""
