"""One contract suite for each port, as a pytest base class; an adapter is right when its subclass passes."""

__all__: list[str] = []
