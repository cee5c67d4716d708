"""What reports say, in Chinese: the English sentence is the key (see :mod:`reports.messages`)."""

ZH: dict[str, str] = {}
