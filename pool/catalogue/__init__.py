"""What pools and managers say, explained: the tables of events and of log lines, which the docs and `poolctl` show."""
