"""The ways to execute a case: NumPy reference models, and compiled libraries in a guarded process."""
