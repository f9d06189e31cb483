from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.ports.trace import TraceContext

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
"""The example of W3C Trace Context, section 3.2.2.5."""


def test_from_headers_published_example_gives_its_parts() -> None:
    context = TraceContext.from_headers(
        {"traceparent": PARENT, "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}
    )

    assert context == TraceContext(
        trace_id=TRACE_ID, span_id=SPAN_ID, is_sampled=True, state="rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    )


@pytest.mark.parametrize(
    ("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_from_headers_reads_only_the_lowest_flag(flags: str, is_sampled: bool) -> None:
    context = TraceContext.from_headers({"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-{flags}"})

    assert context is not None
    assert context.is_sampled is is_sampled


def test_from_headers_of_a_later_version_reads_what_it_knows() -> None:
    context = TraceContext.from_headers({"traceparent": f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-holds"})

    assert context == TraceContext(trace_id=TRACE_ID, span_id=SPAN_ID, is_sampled=True)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "garbage",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"cc-{TRACE_ID}-{SPAN_ID}-01more",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"{PARENT}\n",
        f"{PARENT}\r\nx-injected: 1",
        f" {PARENT}",
    ],
)
def test_from_headers_of_garbage_gives_none(traceparent: str) -> None:
    assert TraceContext.from_headers({"traceparent": traceparent, "tracestate": "a=b"}) is None


def test_from_headers_without_any_gives_none() -> None:
    assert TraceContext.from_headers({}) is None


@pytest.mark.parametrize("state", ["", " ", "a" * 513, "a=b\r\nx-injected: 1", "a=\x00", "ä=1"])
def test_from_headers_with_a_state_that_no_header_can_hold_drops_the_state(state: str) -> None:
    context = TraceContext.from_headers({"traceparent": PARENT, "tracestate": state})

    assert context == TraceContext(trace_id=TRACE_ID, span_id=SPAN_ID, is_sampled=True)


def test_headers_without_a_state_are_the_parent_alone() -> None:
    assert TraceContext(trace_id=TRACE_ID, span_id=SPAN_ID).headers() == {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"}


@given(
    trace_id=st.integers(1, 2**128 - 1).map("{:032x}".format),
    span_id=st.integers(1, 2**64 - 1).map("{:016x}".format),
    is_sampled=st.booleans(),
    state=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=512),
)
def test_headers_read_again_give_the_same_context(trace_id: str, span_id: str, is_sampled: bool, state: str) -> None:
    context = TraceContext(trace_id=trace_id, span_id=span_id, is_sampled=is_sampled, state=state)

    assert TraceContext.from_headers(context.headers()) == context


@given(st.text(max_size=80), st.text(max_size=80))
def test_from_headers_of_any_text_never_fails(traceparent: str, tracestate: str) -> None:
    context = TraceContext.from_headers({"traceparent": traceparent, "tracestate": tracestate})

    assert context is None or TraceContext.from_headers(context.headers()) == context
