from __future__ import annotations

from holdfast.ports.inference import Citation


def test_citation_label_names_source_and_heading() -> None:
    assert Citation(source="adr/0004.md", heading="Drivers > Cost").label == "[adr/0004.md § Drivers > Cost]"
