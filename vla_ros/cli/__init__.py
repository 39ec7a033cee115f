"""The command line: `vla VERB`, a verb a file."""
