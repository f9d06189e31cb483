"""One folder for each outside system; each knows the ports and its own driver, and no other adapter."""
