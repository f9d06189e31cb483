"""One folder for each outside system; each knows the ports and its own driver, and no other adapter.

Nothing is imported here: a driver is loaded when its adapter's own package is.
"""

__all__: list[str] = []
