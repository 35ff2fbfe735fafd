"""The OpenAPI document as one HTML page: no script, nothing fetched from anywhere."""

import re
from collections.abc import Iterator
from html import escape
from string import Template
from typing import Any

Json = dict[str, Any]

_CODE = re.compile(r"`([^`]+)`")
_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: #2563c9; }
@media (prefers-color-scheme: dark) { :root { --link: #7fb0ff; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; }
nav ul { columns: 18rem; list-style: none; padding: 0; }
section { margin: 1.5rem 0; }
code, pre { font: 0.9em/1.5 ui-monospace, monospace; }
code { background: var(--soft); border-radius: 3px; padding: 0 0.2em; }
pre { background: var(--soft); overflow-x: auto; padding: 0.5rem; }
h3 code { background: none; }
.verb { border: 1px solid var(--line); border-radius: 3px; font-size: 0.8em; padding: 0.1em 0.4em; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.5rem; text-align: left; vertical-align: top; }
td p, td ul { margin: 0; }
</style>
</head>
<body>
<h1>$title <small>$version</small></h1>
$introduction
<p>For programs: <a href="$document">$document</a>.</p>
<nav>
$contents
</nav>
$operations
<h2 id="schemas">Schemas</h2>
$schemas
</body>
</html>
""")


def docs_page(document: Json, document_path: str) -> str:
    """The page. document_path: where the document itself is served."""
    return _PAGE.substitute(
        title=escape(document["info"]["title"]),
        version=escape(document["info"]["version"]),
        introduction=_text(document["info"]["description"]),
        document=escape(document_path),
        contents="\n".join(_contents(document)),
        operations="\n".join(_operations(document)),
        schemas="\n".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items()),
    )


def _tagged(document: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    """Verb, path and operation of everything with a tag."""
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            if tag in operation["tags"]:
                yield verb.upper(), path, operation


def _contents(document: Json) -> Iterator[str]:
    for tag in document["tags"]:
        yield f'<h3><a href="#{_anchor("tag", tag["name"])}">{escape(tag["name"])}</a></h3><ul>'
        for _, _, operation in _tagged(document, tag["name"]):
            id = operation["operationId"]
            yield f'<li><a href="#{_anchor("operation", id)}">{escape(id)}</a></li>'
        yield "</ul>"


def _operations(document: Json) -> Iterator[str]:
    for tag in document["tags"]:
        yield f'<h2 id="{_anchor("tag", tag["name"])}">{escape(tag["name"])}</h2>{_text(tag["description"])}'
        for verb, path, operation in _tagged(document, tag["name"]):
            yield _operation(verb, path, operation)


def _operation(verb: str, path: str, operation: Json) -> str:
    id = operation["operationId"]
    rows = [
        _row(each["name"], f"{_type(each['schema'])}, in the {each['in']}", each["required"], each.get("description"))
        for each in operation.get("parameters", ())
    ]
    parts = [
        f'<section id="{_anchor("operation", id)}">',
        f'<h3><span class="verb">{escape(verb)}</span> <code>{escape(path)}</code></h3>',
        f"<p><strong>{escape(id)}</strong>: {_inline(operation['summary'])}.</p>",
        _text(operation.get("description", "")),
        _table(rows),
    ]
    if body := operation.get("requestBody"):
        parts.append(f"<p>Body: {_type(_content(body))}</p>")
    parts.append(f"<p>Answer: {_type(_content(operation['responses']['200']))}</p></section>")
    return "".join(parts)


def _content(carrier: Json) -> Json:
    schema: Json = carrier["content"]["application/json"]["schema"]
    return schema


def _schema(name: str, schema: Json) -> str:
    required = schema.get("required", ())
    rows = [
        _row(field, _type(each), field in required, each.get("description"))
        for field, each in schema.get("properties", {}).items()
    ]
    what = _table(rows) if rows else f"<p>{_type(schema)}</p>"
    heading = f'<h3 id="{_anchor("schema", name)}"><code>{escape(name)}</code></h3>'
    return f"<section>{heading}{_text(schema.get('description', ''))}{what}</section>"


def _row(name: str, what: str, required: bool, description: str | None) -> str:
    needed = " <em>required</em>" if required else ""
    return f"<tr><td><code>{escape(name)}</code>{needed}</td><td>{what}</td><td>{_text(description or '')}</td></tr>"


def _table(rows: list[str]) -> str:
    return f"<table><tr><th>Name</th><th>Type</th><th></th></tr>{''.join(rows)}</table>" if rows else ""


def _type(schema: Json) -> str:
    """What a value is, in words, with a link where it has a schema of its own."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f'<a href="#{_anchor("schema", name)}">{escape(name)}</a>'
        case {"oneOf": list(choices)}:
            return " or ".join(map(_type, choices))
        case {"const": value}:
            return f"<code>{escape(str(value))}</code>"
        case {"enum": list(values)} | {"x-extensible-enum": list(values)}:
            return "one of " + ", ".join(f"<code>{escape(value)}</code>" for value in values)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"map of text to {_type(values)}"
        case {"type": str(kind)}:
            return escape(" ".join(filter(None, (kind, schema.get("format"), schema.get("contentEncoding")))))
        case _:
            return "any value"


def _text(markdown: str) -> str:
    """The little Markdown that comments are written in: paragraphs, lists, indented code, `code`."""
    return "".join(_block(block) for block in re.split(r"\n{2,}", markdown.strip("\n")) if block)


def _block(block: str) -> str:
    lines = block.split("\n")
    if all(line.startswith("    ") for line in lines):
        return f"<pre>{escape(chr(10).join(line[4:] for line in lines))}</pre>"
    if lines[0].startswith("- "):
        items = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
        return f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"
    return f"<p>{_inline(block)}</p>"


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text.strip()))


def _anchor(kind: str, name: str) -> str:
    return escape(f"{kind}-{name}")
