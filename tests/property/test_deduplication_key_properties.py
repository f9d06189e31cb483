"""Two requests have the same key exactly when they are the same request."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.ports.inference import Message, Parameters, ResponseFormat, Role

# Few characters, and those that the encoding itself uses, so that a border in the wrong place is soon found.
texts = st.text("01:;,xmu", max_size=4)
numbers = st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from([0.0, 1.0, 0.5, 1e300])
messages = st.builds(Message, role=st.sampled_from(Role), content=texts)
stops = st.lists(texts, max_size=2).map(tuple)
parameters = st.builds(
    Parameters,
    temperature=numbers,
    top_p=numbers,
    max_tokens=numbers,
    seed=numbers,
    stop=stops,
    response_format=st.sampled_from(ResponseFormat),
)


@dataclass(frozen=True)
class Asked:
    tenant: str
    model: str | None
    persona: str | None
    session: tuple[str, int] | None
    messages: tuple[Message, ...]
    parameters: Parameters

    def key(self) -> DeduplicationKey:
        return DeduplicationKey.of(
            tenant=self.tenant,
            model=self.model,
            persona=self.persona,
            session=self.session,
            messages=self.messages,
            parameters=self.parameters,
        )

    def meaning(self) -> tuple[object, ...]:
        """Return what makes it the same request: numbers by value, truth values apart from numbers."""
        p = self.parameters
        numbers = [(isinstance(n, bool), n) for n in (p.temperature, p.top_p, p.max_tokens, p.seed)]
        return (self.tenant, self.model, self.persona, self.session, self.messages, *numbers, p.stop, p.response_format)


requests = st.builds(
    Asked,
    tenant=texts,
    model=st.none() | texts,
    persona=st.none() | texts,
    session=st.none() | st.tuples(texts, st.integers(0, 2)),
    messages=st.lists(messages, max_size=3).map(tuple),
    parameters=parameters,
)


@given(one=requests, other=requests)
@settings(max_examples=500)
def test_key_of_two_requests_is_equal_exactly_when_they_mean_the_same(one: Asked, other: Asked) -> None:
    assert (one.key() == other.key()) == (one.meaning() == other.meaning())


@given(pieces=st.lists(texts, min_size=6, max_size=6), data=st.data())
@settings(max_examples=500)
def test_key_of_the_same_text_cut_elsewhere_differs_unless_the_pieces_are_the_same(
    pieces: list[str], data: st.DataObject
) -> None:
    def asked(parts: list[str]) -> Asked:
        tenant, model, persona, stop, first, second = parts
        return Asked(
            tenant=tenant,
            model=model,
            persona=persona,
            session=None,
            messages=(Message(role=Role.USER, content=first), Message(role=Role.USER, content=second)),
            parameters=Parameters(stop=(stop,)),
        )

    whole = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=5, max_size=5)))
    again = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert (asked(pieces).key() == asked(again).key()) == (pieces == again)


@given(one=st.text(st.characters(), max_size=5), other=st.text(st.characters(), max_size=5))
def test_key_of_any_two_texts_surrogates_included_differs_when_they_do(one: str, other: str) -> None:
    def asked(content: str) -> DeduplicationKey:
        return Asked(
            tenant="a",
            model=None,
            persona=None,
            session=None,
            messages=(Message(role=Role.USER, content=content),),
            parameters=Parameters(),
        ).key()

    assert (asked(one) == asked(other)) == (one == other)
