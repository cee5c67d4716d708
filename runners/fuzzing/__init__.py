"""Validation without end: calls that are drawn, run and judged, and failures made small."""
