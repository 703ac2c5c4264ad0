"""The judge itself: it finds what it must find, and nothing else."""

from __future__ import annotations

import pytest

from tests.concurrency.book import Book, Visit


def entered(book: Book, fence: int, at: float, who: str = "0.1") -> Visit:
    visit = book.enter("c", fence, who, at)
    assert visit is not None
    return visit


def test_one_after_the_other_is_no_fault() -> None:
    book = Book()
    first = entered(book, 1, 1.0)
    book.use(first, 2.0)
    book.leave(first, "done")
    entered(book, 2, 3.0)

    report = book.report()

    assert report.faults == []
    assert (report.count("entered"), report.count("overtaken"), report.entered) == (2, 0, {"0.1": 2})


def test_two_valid_holders_at_once_are_a_fault_also_when_the_first_spoke_before_the_second_came() -> None:
    book = Book()
    first = entered(book, 1, 1.0)
    book.use(first, 2.0)
    entered(book, 2, 1.5)

    assert len(book.report().faults) == 1


@pytest.mark.parametrize(("at", "faults", "late"), [(1.9, 0, 1), (2.0, 1, 1), (2.1, 1, 1)])
def test_an_overtaken_holder_is_at_fault_only_if_it_was_valid_when_the_next_one_was(
    at: float, faults: int, late: int
) -> None:
    book = Book()
    first = entered(book, 1, 1.0)
    entered(book, 2, 2.0)
    book.use(first, at)

    report = book.report()

    assert (len(report.faults), report.count("late"), report.count("overtaken")) == (faults, late, 1)


def test_an_overtaken_holder_that_knows_is_no_fault() -> None:
    book = Book()
    first = entered(book, 1, 1.0)
    entered(book, 2, 2.0, "1.1")
    assert book.report().inside == [("c", "0.1", True), ("c", "1.1", False)]
    book.leave(first, "lost")

    assert book.report().faults == []


@pytest.mark.parametrize(("fence", "at", "faults"), [(2, 2.5, 0), (2, 3.0, 1), (3, 2.5, 1), (1, 1.9, 0), (1, 2.0, 1)])
def test_a_fence_that_is_not_above_all_seen_is_refused_and_a_fault_if_its_holder_was_valid(
    fence: int, at: float, faults: int
) -> None:
    book = Book()
    for seen, seen_at in ((1, 1.0), (3, 3.0)) if fence != 1 else ((2, 2.0), (3, 3.0)):
        book.leave(entered(book, seen, seen_at), "done")

    assert book.enter("c", fence, "1.1", at) is None

    report = book.report()
    assert (len(report.faults), report.count("refused"), report.inside) == (faults, 1, [])


def test_containers_are_judged_apart() -> None:
    book = Book()
    book.enter("a", 2, "0.1", 1.0)
    book.enter("b", 1, "0.2", 1.0)

    assert book.report().faults == []
