"""Calls as files, for boards without a connection, and what they have left."""
