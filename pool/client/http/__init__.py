"""The pools behind a manager's HTTP server, from any machine."""
