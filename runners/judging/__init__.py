"""What decides: validation, verdicts, contracts, probes."""
