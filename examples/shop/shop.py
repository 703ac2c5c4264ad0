"""A small web shop to test: log in, fill a cart, check out. `python shop.py` serves it.

Who is logged in is told by a cookie, and the cart is in the browser's localStorage: two things that must never reach
the next user of a browser.
"""

from __future__ import annotations

import html
import itertools
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from string import Template
from urllib.parse import parse_qs

GOODS = {"tea": 4, "cup": 9, "kettle": 35, "honey": 7}
PASSWORD = "open sesame"  # noqa: S105 - of a shop that sells nothing

_PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>$title · Corner shop</title>
<style>
  body { font: 16px/1.5 sans-serif; margin: 0; background: #f6f4ef; color: #222 }
  header { background: #24524a; color: #fff; padding: .8rem 2rem; display: flex; justify-content: space-between }
  main { max-width: 40rem; margin: 2rem auto; background: #fff; padding: 1.5rem 2rem; border-radius: .5rem }
  li { display: flex; justify-content: space-between; align-items: center; padding: .3rem 0 }
  ul { padding: 0 } button { font: inherit; padding: .2rem .9rem } input { font: inherit; margin: 0 1rem 1rem 0 }
</style>
<header><b>Corner shop</b><span id="who">$who</span></header>
<main><h1>$title</h1>$body</main></html>
""")

_LOGIN = """<form method="post" action="/login">
<input name="name" placeholder="Name"><input name="password" type="password" placeholder="Password">
<button>Log in</button></form>"""

_GOODS = Template("""<ul>$goods</ul>
<form method="post" action="/orders"><input type="hidden" name="cart"><button id="order" disabled>Check out</button>
<span id="cart"></span> · <a href="/prices.csv" id="prices">price list</a></form>
<script>
  const read = () => JSON.parse(localStorage.getItem("cart") || "[]");
  const show = () => {
    document.querySelector("#cart").textContent = read().length ? "Cart: " + read().join(", ") : "The cart is empty";
    document.querySelector("#order").disabled = !read().length;
    document.querySelector("[name=cart]").value = read().join(",");
  };
  for (const button of document.querySelectorAll("li button")) {
    button.onclick = () => { localStorage.setItem("cart", JSON.stringify([...read(), button.id])); show(); };
  }
  show();
</script>""")


class _Visit(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Shop

    def do_GET(self) -> None:
        """Show a page."""
        name = self.server.customers.get(self._session())
        if self.path == "/prices.csv":
            prices = "".join(f"{good},{price}\n" for good, price in GOODS.items())
            self._answer(prices, "text/csv", {"Content-Disposition": "attachment; filename=prices.csv"})
        elif self.path != "/":
            self._show("Not found", "", name, HTTPStatus.NOT_FOUND)
        elif name is None:
            self._show("Welcome", _LOGIN, name)
        else:
            goods = "".join(
                f'<li>{good} <span>{price} € <button id="{good}">Add</button></span></li>'
                for good, price in GOODS.items()
            )
            self._show("Goods", _GOODS.substitute(goods=goods), name)

    def do_POST(self) -> None:
        """Log in, or order."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = {key: values[0] for key, values in parse_qs(body).items()}
        name = self.server.customers.get(self._session())
        if self.path == "/login":
            self._log_in(form.get("name", ""), form.get("password", ""))
        elif self.path == "/orders" and name is not None:
            cart = [good for good in form.get("cart", "").split(",") if good in GOODS]
            number, total = next(self.server.numbers), sum(GOODS[good] for good in cart)
            receipt = f'<p id="receipt">{len(cart)} goods for {total} €</p><script>localStorage.clear()</script>'
            self._show(f"Order {number}", receipt, name)
        else:
            self._show("Not allowed", "", name, HTTPStatus.FORBIDDEN)

    def _log_in(self, name: str, password: str) -> None:
        if not name or password != PASSWORD:
            return self._show("Wrong name or password", _LOGIN, None, HTTPStatus.FORBIDDEN)
        session = secrets.token_urlsafe()
        self.server.customers[session] = name
        cookie = f"session={session}; Max-Age=86400; HttpOnly; SameSite=Lax"
        return self._answer("", "text/html", {"Location": "/", "Set-Cookie": cookie}, HTTPStatus.SEE_OTHER)

    def _session(self) -> str:
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        return morsel.value if morsel else ""

    def _show(self, title: str, body: str, name: str | None, status: HTTPStatus = HTTPStatus.OK) -> None:
        page = _PAGE.substitute(title=title, body=body, who=html.escape(name or "not logged in"))
        self._answer(page, "text/html; charset=utf-8", {}, status)

    def _answer(
        self, text: str, kind: str, headers: dict[str, str], status: HTTPStatus = HTTPStatus.OK
    ) -> None:  # fmt: skip
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: a test's output is its own."""


class Shop(ThreadingHTTPServer):
    """The shop, on all addresses of this machine: browsers in containers come from another network.

    Attributes:
        customers: Session → name of who is logged in.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("0.0.0.0", port), _Visit)  # noqa: S104 - see above
        self.customers: dict[str, str] = {}
        self.numbers = itertools.count(1)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


@contextmanager
def open_shop() -> Iterator[Shop]:
    """Serve a shop in the background, on a port that is free, until the block is over."""
    with Shop() as shop:
        thread = threading.Thread(target=shop.serve_forever, name="shop", daemon=True)
        thread.start()
        try:
            yield shop
        finally:
            shop.shutdown()
            thread.join()


if __name__ == "__main__":
    with Shop(8080) as shop:
        sys.stdout.write(f"http://127.0.0.1:{shop.port}\n")
        shop.serve_forever()
