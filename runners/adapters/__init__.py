"""Adapters for the target ``python:MODULE:OBJECT`` that ship with golden; see docs/third-party.md."""
