"""Which statements answer a question.

Responsibility: score each statement of the passages against the question, and choose the few best.
Guarantees: the same question and passages always give the same choice; nothing is chosen from a document in which no
    statement, with its surroundings, meets a third of the question by weight; no statement is chosen twice.
Not responsible for: understanding. Words are compared, weighted by how rare they are among the statements, and the form
    of the question says which statements to prefer. The factors are unmeasured; they are tuned on the questions of
    `tests/integration/test_extractive_answers.py`.
Source: K. Sparck Jones, "A statistical interpretation of term specificity", Journal of Documentation 28 (1972), with
    statements in place of documents.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from holdfast.adapters.inference.statements import Statement, read_statements
from holdfast.adapters.inference.stems import stem
from holdfast.ports.retrieval import Passage
from holdfast.ports.search_terms import search_terms

__all__ = ["Choice", "choose"]

_LEAST_MET: Final = 1 / 3
_LEAST_OF_BEST: Final = 0.65
_MOST_ALIKE: Final = 0.8
_LONGEST_STATEMENT: Final = 700

# What a word of the question counts for that is not in the statement, but in its heading or the line before its list,
# in the statement before or after it, or anywhere in what was found of its document.
_IN_HEADING: Final = 0.5
_IN_NEIGHBOUR: Final = 0.25
_IN_DOCUMENT: Final = 0.4

_ASKS_WHY: Final = re.compile(r"\bwhy\b|\breasons?\b|\bwhat (?:is|are)\b[^?.!\n]{1,80}\bfor\b", re.IGNORECASE)
_SAYS_BECAUSE: Final = re.compile(r"\b(?:because|since(?= \w)|due to|reasons?)\b", re.IGNORECASE)
_SAYS_WHAT_FOR: Final = re.compile(r"\b(?:so that|in order to|otherwise|therefore)\b", re.IGNORECASE)
_CONCLUDES: Final = re.compile(r"(?:so|therefore|hence|thus|that is why)\b", re.IGNORECASE)
_HOLDS_REASONS: Final = re.compile(
    r"\b(?:why|reasons?|rationale|drivers?|outcome|decision|motivation|background)\b", re.IGNORECASE
)
_GIVES_A_REASON: Final = 1.0
_GIVES_A_PURPOSE: Final = 0.4
_AMONG_REASONS: Final = 0.5

_ASKS_HOW_MUCH: Final = re.compile(r"\bhow (?:many|much|long|large|often|fast|big|high|small)\b", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d")
_NUMBER_FACTOR: Final = 1.25

_CODE_SPAN: Final = re.compile(r"`[^`]*`")
_FEW_WORDS: Final = 4
_FEW_WORDS_FACTOR: Final = 0.5
_QUESTION_FACTOR: Final = 0.5
_MANY_WORDS: Final = 40
_MANY_WORDS_FACTOR: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Statements of one passage that belong in the answer, in its order."""

    passage: Passage
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A statement, and the stems of its own words, of those above it (heading, context) and beside it."""

    passage: int
    position: int
    statement: Statement
    next_text: str
    own: frozenset[str]
    above: frozenset[str]
    beside: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """A candidate with its score, and the share of the question that it and its surroundings meet, 0-1."""

    candidate: _Candidate
    score: float
    met: float


def choose(question: str, passages: Sequence[Passage], *, limit: int) -> tuple[Choice, ...]:
    """Return at most `limit` statements that answer `question`, by passage, the one with the best statement first.

    Complexity: linear in the passages; about 0.6 ms for each kilobyte.
    """
    terms = tuple(dict.fromkeys(stem(term) for term in search_terms(question)))
    candidates = [candidate for number, passage in enumerate(passages) for candidate in _candidates(number, passage)]
    if not terms or not candidates:
        return ()
    by_passage: dict[int, list[_Candidate]] = {}
    for one in _pick(_Scorer(question, terms, passages, candidates).rank(), limit):
        by_passage.setdefault(one.candidate.passage, []).append(one.candidate)
    return tuple(
        Choice(
            passage=passages[number],
            texts=tuple(one.statement.text for one in sorted(chosen, key=attrgetter("position"))),
        )
        for number, chosen in by_passage.items()
    )


def _candidates(number: int, passage: Passage) -> Iterator[_Candidate]:
    statements = read_statements(passage.text)
    stems = [frozenset[str](), *(_stems(statement.text) for statement in statements), frozenset[str]()]
    texts = [*(statement.text for statement in statements), ""]
    heading = _stems(passage.heading)
    for position, statement in enumerate(statements):
        if len(statement.text) <= _LONGEST_STATEMENT:
            yield _Candidate(
                passage=number,
                position=position,
                statement=statement,
                next_text=texts[position + 1],
                own=stems[position + 1],
                above=heading | _stems(statement.context),
                beside=stems[position] | stems[position + 2],
            )


def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(term) for term in search_terms(text, limit=len(text)))


class _Scorer:
    def __init__(
        self, question: str, terms: tuple[str, ...], passages: Sequence[Passage], candidates: Sequence[_Candidate]
    ) -> None:
        self._asks_why = bool(_ASKS_WHY.search(question))
        self._asks_how_much = bool(_ASKS_HOW_MUCH.search(question))
        self._passages = passages
        self._candidates = candidates
        found = Counter(term for candidate in candidates for term in terms if term in candidate.own)
        self._weights = {term: math.log1p(len(candidates) / max(1, found[term])) for term in terms}
        self._total = sum(self._weights.values())
        self._standing = self._standings()

    def rank(self) -> list[_Scored]:
        """Return the candidates of the documents that fit, best first; equal ones in order of their passages."""
        scored = [self._score(candidate) for candidate in self._candidates]
        fitting = {self._source(one.candidate) for one in scored if one.met >= _LEAST_MET}
        best_first = sorted(scored, key=attrgetter("score"), reverse=True)
        return [one for one in best_first if self._source(one.candidate) in fitting]

    def _source(self, candidate: _Candidate) -> str:
        return self._passages[candidate.passage].source

    def _score(self, candidate: _Candidate) -> _Scored:
        own = self._met(candidate.own)
        above = self._met(candidate.above - candidate.own)
        beside = self._met(candidate.beside - candidate.above - candidate.own)
        standing = self._standing[candidate.passage]
        score = (
            own + _IN_HEADING * above + _IN_NEIGHBOUR * beside + (_IN_DOCUMENT + self._explains(candidate)) * standing
        )
        return _Scored(candidate=candidate, score=score * self._preference(candidate), met=own + above + beside)

    def _met(self, words: Collection[str]) -> float:
        """Return the share of the question that `words` meet, by weight, 0-1."""
        return sum(weight for term, weight in self._weights.items() if term in words) / self._total

    def _standings(self) -> list[float]:
        """Return for each passage how well its document fits, times how well it was found to fit itself, 0-1."""
        documents: defaultdict[str, set[str]] = defaultdict(set)
        for candidate in self._candidates:
            documents[self._source(candidate)] |= candidate.own | candidate.above
        scores = [passage.score if 0 < passage.score < math.inf else 0.0 for passage in self._passages]
        best = max(scores, default=0.0) or 1.0
        return [
            self._met(documents[passage.source]) * score / best
            for passage, score in zip(self._passages, scores, strict=True)
        ]

    def _explains(self, candidate: _Candidate) -> float:
        """Return what a statement gains by giving a reason, when the question asks for one."""
        if not self._asks_why:
            return 0.0
        text = candidate.statement.text
        if _SAYS_BECAUSE.search(text) or _CONCLUDES.match(candidate.next_text):
            gain = _GIVES_A_REASON
        else:
            gain = _GIVES_A_PURPOSE if _SAYS_WHAT_FOR.search(text) else 0.0
        heading = self._passages[candidate.passage].heading
        return gain + (_AMONG_REASONS if _HOLDS_REASONS.search(heading) else 0.0)

    def _preference(self, candidate: _Candidate) -> float:
        text = candidate.statement.text
        factor = 1.0
        if self._asks_how_much and _NUMBER.search(text):
            factor *= _NUMBER_FACTOR
        if text.endswith("?"):
            factor *= _QUESTION_FACTOR
        words = len(_CODE_SPAN.sub("", text).split())
        if words < _FEW_WORDS and not text.endswith("```"):  # a listing says enough
            factor *= _FEW_WORDS_FACTOR
        elif words > _MANY_WORDS:
            factor *= _MANY_WORDS_FACTOR
        return factor


def _pick(ranked: Sequence[_Scored], limit: int) -> list[_Scored]:
    """Return the best that are not alike, as long as they are not much worse than the first."""
    picked: list[_Scored] = []
    for one in ranked:
        if len(picked) == limit or one.score < _LEAST_OF_BEST * ranked[0].score:
            break
        if not any(_alike(one.candidate.own, other.candidate.own) for other in picked):
            picked.append(one)
    return picked


def _alike(first: frozenset[str], second: frozenset[str]) -> bool:
    return len(first & second) >= _MOST_ALIKE * len(first | second)
