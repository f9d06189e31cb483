"""Ports kept in this process's memory: for tests, and where nothing needs to outlive the process."""
