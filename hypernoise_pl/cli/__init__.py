"""The command line: the parser, the configuration of each command, and the commands that run no model."""
