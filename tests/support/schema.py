"""A database's schema as text: what two ways to it must have in common."""

import asyncpg

_LINES = """
    SELECT format('%s.%s %s%s%s%s', class.relname, attname, format_type(atttypid, atttypmod),
        CASE WHEN collname <> 'default' THEN ' collate ' || collname END,
        CASE WHEN attnotnull THEN ' not null' END,
        CASE attgenerated WHEN 's' THEN ' generated ' ELSE ' default ' END || pg_get_expr(adbin, adrelid)) AS line
    FROM pg_attribute JOIN pg_class AS class ON class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT format('%s constraint %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    UNION ALL
    SELECT format('%s index %s', tablename, indexdef) FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT format('%s options %s', relname, reloptions) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
"""


async def schema_of(url: str) -> str:
    """Every column, constraint, index and table option, one a line, sorted."""
    connection = await asyncpg.connect(url)
    try:
        return "\n".join(sorted(row["line"] for row in await connection.fetch(_LINES))) + "\n"
    finally:
        await connection.close()
