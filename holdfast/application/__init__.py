"""Assembles the library: settings, container, orchestrator, batch runner."""
