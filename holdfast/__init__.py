"""Keeps a service standing while it calls things that fail, model backends first of all."""
