"""Customers visit the shop, each in a browser of its own.

    pytest examples/shop -n 4 --pool-start config/playwright-mcp.yaml

Four workers share the two browsers of that pool.
"""

from __future__ import annotations

import pytest

from browser import Browser
from shop import GOODS, PASSWORD

CUSTOMERS = ["Ada", "Béla", "Chloë", "Dmitri", "Eun-ji", "Farid", "Grace", "Hồ", "Inés", "Jörg"]

each_customer = pytest.mark.parametrize("name", CUSTOMERS)


def log_in(browser: Browser, name: str, password: str = PASSWORD) -> None:
    """Fill in the form of the shop's first page."""
    browser.type("[name=name]", name)
    browser.type("[name=password]", password)
    browser.click("button")


@pytest.mark.pool(priority="critical")
@each_customer
def test_a_customer_can_check_out(browser: Browser, name: str) -> None:
    """The whole way: log in, fill the cart, check out."""
    log_in(browser, name)
    browser.click("#tea")
    browser.click("#kettle")
    browser.click("#order")

    assert browser.text("#receipt") == f"2 goods for {GOODS['tea'] + GOODS['kettle']} €"
    assert browser.text("#who") == name
    assert browser.evaluate("() => localStorage.length") == 0


@each_customer
def test_the_cart_is_still_there_on_the_next_visit(browser: Browser, shop_url: str, name: str) -> None:
    """The cart is in localStorage, the login in a cookie: both outlive a page."""
    log_in(browser, name)
    browser.click("#cup")
    browser.open("about:blank")
    browser.open(shop_url)

    assert browser.text("#cart") == "Cart: cup"
    assert browser.text("#who") == name


@each_customer
def test_who_has_an_empty_cart_cannot_check_out(browser: Browser, name: str) -> None:
    """This also shows that no cart comes from somebody else."""
    log_in(browser, name)

    assert browser.text("#cart") == "The cart is empty"
    assert browser.evaluate("() => document.querySelector('#order').disabled") is True


@pytest.mark.pool(priority="low")
@each_customer
def test_a_wrong_password_is_refused(browser: Browser, name: str) -> None:
    """Nobody is logged in afterwards."""
    log_in(browser, name, password="guess")  # noqa: S106 - a wrong one

    assert browser.text("h1") == "Wrong name or password"
    assert browser.text("#who") == "not logged in"
