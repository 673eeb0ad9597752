"""The command line: one parser, the configuration that a command amounts to, and what each command does with it."""
