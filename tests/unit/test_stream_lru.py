"""A cache that is bounded in bytes."""

from rule_service.stream.lru import ByteLru


def test_the_least_used_go_first() -> None:
    cache: ByteLru[str, int] = ByteLru(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1
    cache.put("c", 3, 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    assert cache.size == 8


def test_what_is_too_large_is_not_kept_and_costs_nothing() -> None:
    cache: ByteLru[str, int] = ByteLru(10)
    cache.put("a", 1, 4)
    cache.put("large", 2, 11)
    assert (cache.get("a"), cache.get("large")) == (1, None)


def test_a_value_that_is_put_again_counts_once() -> None:
    cache: ByteLru[str, int] = ByteLru(10)
    for value in range(5):
        cache.put("a", value, 6)
    assert (cache.get("a"), cache.size) == (4, 6)
    cache.put("a", 9, 11)
    assert (cache.get("a"), cache.size) == (None, 0)
