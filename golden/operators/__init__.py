"""The operators, one file each. Every module here defines ``OPERATOR``."""
