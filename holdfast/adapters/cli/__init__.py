"""The command line: a driving adapter. Needs the extra ``cli``."""
