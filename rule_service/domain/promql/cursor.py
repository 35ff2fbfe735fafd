"""Reading the words of a query one after the other, and the lists of words in which no selector can be."""

from rule_service.domain.promql.tokens import Token, TokenKind, syntax_error, tokenize
from rulecast.errors import InvalidInput

SPECIAL_NUMBERS = frozenset({"inf", "nan"})
_DURATION_FUNCTIONS = frozenset({"step", "range", "min", "max", "min_of", "max_of"})
_ARITHMETIC = frozenset("+-*/%^")


def shortened(text: str) -> str:
    """`text` for a message: its first 40 characters."""
    return text if len(text) <= 40 else text[:40] + "..."


class Cursor:
    """A place between two words, comments left out. Every `take` moves past one word or raises QUERY_INVALID."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._words = [word for word in tokenize(text) if word.kind is not TokenKind.COMMENT]
        # two words after the last one, so that reading one word ahead needs no bounds check
        self._words += [Token(TokenKind.END, len(text), len(text))] * 2
        self._at = 0

    def peek(self, ahead: int = 0) -> Token:
        return self._words[self._at + ahead]

    def kind(self, ahead: int = 0) -> TokenKind:
        return self._words[self._at + ahead].kind

    def skip(self) -> Token:
        word = self._words[self._at]
        self._at += 1
        return word

    def written(self, word: Token) -> str:
        return self.text[word.start : word.end]

    def keyword(self, ahead: int = 0) -> str:
        """The word in lower case if it is an identifier, else ""; PromQL's keywords know no case."""
        word = self.peek(ahead)
        return self.written(word).lower() if word.kind is TokenKind.IDENTIFIER else ""

    def operator(self) -> str:
        word = self.peek()
        return self.written(word) if word.kind is TokenKind.OPERATOR else ""

    def take(self, kind: TokenKind, where: str) -> Token:
        if self.kind() is not kind:
            raise self.unexpected(f"{kind.value} is expected {where}")
        return self.skip()

    def unexpected(self, wanted: str) -> InvalidInput:
        word = self.peek()
        found = "the query ends" if word.kind is TokenKind.END else f"unexpected {shortened(self.written(word))}"
        return syntax_error(self.text, word.start, f"{found}: {wanted}")

    def take_labels(self) -> tuple[str, ...]:
        """`(a, "b.c",)`: the labels of `by`, `on` and `group_left`, quoted ones with their quotes."""
        labels = []
        self.take(TokenKind.LEFT_PAREN, "before the labels")
        while self.kind() is not TokenKind.RIGHT_PAREN:
            if self.kind() not in (TokenKind.IDENTIFIER, TokenKind.STRING):
                raise self.unexpected("a label name is expected")
            labels.append(self.written(self.skip()))
            if self.kind() is TokenKind.COMMA:
                self.skip()
            elif self.kind() is not TokenKind.RIGHT_PAREN:
                raise self.unexpected(", or ) is expected after a label name")
        self.skip()
        return tuple(labels)

    def take_offset(self) -> None:
        """What follows `offset`: a duration, or an expression of durations in parentheses."""
        self._skip_sign()
        if self._skip_number():
            return
        if self.keyword() in _DURATION_FUNCTIONS and self.kind(1) is TokenKind.LEFT_PAREN:
            self.skip()
        if self.kind() is not TokenKind.LEFT_PAREN:
            raise self.unexpected("a duration such as 5m is expected after offset")
        self._skip_durations(TokenKind.LEFT_PAREN, TokenKind.RIGHT_PAREN)

    def take_range(self) -> None:
        """`[5m]`, `[1h:5m]`, `[5m*2:step()]`."""
        if self.kind(1) is TokenKind.RIGHT_BRACKET:
            self.skip()
            raise self.unexpected("a duration such as 5m is expected between the brackets")
        self._skip_durations(TokenKind.LEFT_BRACKET, TokenKind.RIGHT_BRACKET)

    def take_time(self) -> None:
        """What follows `@`: a Unix time, `start()` or `end()`."""
        self._skip_sign()
        if self._skip_number():
            return
        if self.keyword() not in ("start", "end"):
            raise self.unexpected("a Unix time, start() or end() is expected after @")
        self.skip()
        self.take(TokenKind.LEFT_PAREN, "after start and end")
        self.take(TokenKind.RIGHT_PAREN, "after start( and end(")

    def take_fill(self) -> None:
        """`(0)`: the value of `fill`, `fill_left` and `fill_right`."""
        self.take(TokenKind.LEFT_PAREN, "after fill")
        self._skip_sign()
        if not self._skip_number():
            raise self.unexpected("fill takes a number")
        self.take(TokenKind.RIGHT_PAREN, "after the value of fill")

    def _skip_sign(self) -> None:
        if self.operator() in ("+", "-"):
            self.skip()

    def _skip_number(self) -> bool:
        numeric = self.kind() in (TokenKind.NUMBER, TokenKind.DURATION) or self.keyword() in SPECIAL_NUMBERS
        if numeric:
            self.skip()
        return numeric

    def _skip_durations(self, opening: TokenKind, closing: TokenKind) -> None:
        first = self.peek()
        depth = 0
        while True:
            kind = self.kind()
            if kind is opening:
                depth += 1
            elif kind is closing:
                depth -= 1
            elif kind is TokenKind.END:
                raise syntax_error(self.text, first.start, f"{opening.value} has no closing {closing.value}")
            elif not self._is_of_duration():
                raise self.unexpected("only durations and their arithmetic can stand here")
            self.skip()
            if depth == 0:
                return

    def _is_of_duration(self) -> bool:
        match self.kind():
            case TokenKind.IDENTIFIER:
                return self.keyword() in _DURATION_FUNCTIONS | SPECIAL_NUMBERS
            case TokenKind.OPERATOR:
                return self.operator() in _ARITHMETIC
            case TokenKind.LEFT_BRACKET | TokenKind.RIGHT_BRACKET | TokenKind.LEFT_BRACE | TokenKind.RIGHT_BRACE:
                return False
            case kind:
                return kind not in (TokenKind.STRING, TokenKind.AT)
