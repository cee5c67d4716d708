"""The process that a library runs in: what it can reach, the call itself, what a call leaves behind, how it ends."""
