"""The command line of Intentree: one TOML file, one file a verb."""
