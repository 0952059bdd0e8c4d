"""Data quality: great_expectations suites over stage tables, run in a child process. Decides nothing; names what failed."""
