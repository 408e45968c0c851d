"""The `eventscore` command: one module per command; `main` turns errors into messages and exit codes, here and nowhere else."""
