from pathlib import Path

#: The repository: what tests read of it, and where the commands that they start are found.
ROOT = Path(__file__).resolve().parent.parent
