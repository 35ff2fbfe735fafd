"""What a scan of a query finds: its vector selectors, and the parentheses and operators around them.

Offsets count characters of the text; `start` is that of the first character, `end` that after the last.
"""

from dataclasses import dataclass, field
from enum import Enum

from rule_service.domain.matchers import Matcher, MatchOp

METRIC_NAME = "__name__"


@dataclass(frozen=True, slots=True)
class WrittenMatcher:
    """A matcher as the author wrote it; a bare quoted name (`{"a.b"}`) is one of `__name__`.

    comma: offset of the comma after it, None where there is none. is_name: it is such a bare quoted name.
    """

    matcher: Matcher
    start: int
    end: int
    comma: int | None
    is_name: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """The matchers of a selector; where there are braces with `or` (VictoriaMetrics), those of one side.

    insert_at: where further matchers belong: after the last one, or after the opening brace, or after the name.
    """

    matchers: tuple[WrittenMatcher, ...]
    insert_at: int


@dataclass(frozen=True, slots=True)
class Selector:
    """A vector selector.

    name: the metric name before the braces, None where there is none.
    braces: the span from `{` to after `}`, None where there are none.
    frame, argument: the innermost parentheses it is in (an index into `Shape.frames`), and the argument's index.
    info_labels: it is the second argument of `info()`, which names labels and selects no series.
    """

    name: str | None
    start: int
    end: int
    braces: tuple[int, int] | None
    branches: tuple[Branch, ...]
    frame: int
    argument: int
    info_labels: bool

    @property
    def metric(self) -> str | None:
        """The one metric name it can select, None where that is open."""
        if self.name is not None or len(self.branches) > 1:
            return self.name
        for written in self.branches[0].matchers:
            if written.matcher.label == METRIC_NAME and written.matcher.op is MatchOp.EQUAL:
                return written.matcher.value
        return None


class FrameKind(Enum):
    WHOLE = "the whole query"
    GROUP = "parentheses"
    CALL = "function call"
    AGGREGATION = "aggregation"


@dataclass(slots=True)
class Frame:
    """The whole query (index 0), or one pair of parentheses that holds expressions.

    name: the function or the aggregation in lower case, "" for others. start: where that name, or `(`, begins.
    opened, closed: offsets of the first character inside and of `)`. commas: those between its arguments.
    modified: an aggregation has its `by` or `without` before the parentheses.
    """

    kind: FrameKind
    name: str
    start: int
    opened: int
    parent: int
    modified: bool = False
    closed: int = 0
    commas: list[int] = field(default_factory=list)

    @property
    def argument(self) -> int:
        """The index of the argument that is being read."""
        return len(self.commas)

    def argument_span(self, index: int) -> tuple[int, int]:
        start = self.commas[index - 1] + 1 if index else self.opened
        return start, self.commas[index] if index < len(self.commas) else self.closed


@dataclass(frozen=True, slots=True)
class BinaryOperator:
    """A binary operator with its modifiers, in its frame and argument.

    op: in lower case. matching: `on` or `ignoring` with `labels`, else "". grouping: `group_left`, `group_right` or "".
    end: where its right side begins.
    """

    op: str
    start: int
    end: int
    frame: int
    argument: int
    matching: str
    labels: tuple[str, ...]
    grouping: str


@dataclass(slots=True)
class Shape:
    """All that a scan finds, each in the order of the text. `signs`: how many unary + and - there are."""

    text: str
    selectors: list[Selector] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    operators: list[BinaryOperator] = field(default_factory=list)
    signs: int = 0
