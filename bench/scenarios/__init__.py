"""MLPerf's four scenarios, by its own LoadGen: who may take part, and what is asked of it."""
