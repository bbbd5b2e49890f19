"""The decorator: which views, which answers, which mistakes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from blinker import Signal
from flask import Blueprint, Response, abort, g, make_response, redirect, request
from flask.views import MethodView, View
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.local import LocalProxy

from flask_s2s import UsageError
from flask_s2s.store.outbox.ledger import Wanted
from tests.recording.desk import LANDING, Boom, Desk
from tests.recording.rows import conversions, read

UNATTENDED: dict[str, Any] = {"TESTING": False, "S2S_WORKER": "external"}


@pytest.fixture
def production(sqlite_url: str) -> Desk:
    """A desk where nobody wants to see our mistakes."""
    return Desk(sqlite_url, **UNATTENDED)


def decorated(desk: Desk, view: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Decorate `view`; the customer is the one that it put into `g`."""
    defaults: dict[str, Any] = {"customer_key": lambda: g.user.id, "session": desk.db.session}
    return desk.s2s.conversion("signup", **(defaults | options))(view)


def sign_up(desk: Desk) -> str:
    g.user = desk.new_user()
    desk.db.session.commit()
    return "welcome"


def visit(desk: Desk, method: str = "POST", path: str = "/join") -> int:
    client = desk.app.test_client()
    client.get(LANDING)
    return client.open(path, method=method).status_code


class TestKindsOfViews:
    def test_function(self, desk: Desk) -> None:
        desk.app.post("/join")(decorated(desk, lambda: sign_up(desk)))
        assert visit(desk) == 200
        desk.expect_exactly_the_customers(1)

    def test_blueprint(self, desk: Desk) -> None:
        bp = Blueprint("bp", __name__)
        bp.post("/join")(decorated(desk, lambda: sign_up(desk)))
        desk.app.register_blueprint(bp)
        assert visit(desk) == 200
        desk.expect_exactly_the_customers(1)

    def test_class_with_decorators(self, desk: Desk) -> None:
        class Join(View):
            methods = ("GET", "POST")
            decorators = [lambda view: decorated(desk, view)]  # noqa: RUF012

            def dispatch_request(self) -> str:
                return sign_up(desk)

        desk.app.add_url_rule("/join", view_func=Join.as_view("join"))
        assert visit(desk) == 200
        desk.expect_exactly_the_customers(1)

    def test_method_of_a_class(self, desk: Desk) -> None:
        class Join(MethodView):
            def post(self, name: str) -> str:
                assert name == "ada"
                return sign_up(desk)

        Join.post = decorated(desk, Join.post)  # type: ignore[method-assign]
        desk.app.add_url_rule("/join/<name>", view_func=Join.as_view("join"))
        assert visit(desk, path="/join/ada") == 200
        desk.expect_exactly_the_customers(1)

    @pytest.mark.parametrize(("answer", "expected"), [(200, "pending"), (500, "withdrawn")])
    def test_async(self, desk: Desk, answer: int, expected: str) -> None:
        async def join() -> tuple[str, int]:
            return sign_up(desk), answer

        desk.app.post("/join")(decorated(desk, join))
        assert visit(desk) == answer
        assert conversions(desk.uri) == [("1", expected)]

    def test_async_that_raises(self, desk: Desk) -> None:
        async def join() -> str:
            sign_up(desk)
            raise Boom

        desk.app.post("/join")(decorated(desk, join))
        with pytest.raises(Boom):
            visit(desk)
        assert conversions(desk.uri) == [("1", "withdrawn")]

    def test_between_other_decorators(self, desk: Desk) -> None:
        def logged_in(view: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(view)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                response = make_response(view(*args, **kwargs))
                response.headers["X-Guard"] = "yes"
                return response

            return guarded

        @desk.app.post("/join")
        @logged_in
        @desk.s2s.conversion(customer_key=lambda: g.user.id, session=desk.db.session)
        @logged_in
        def join() -> str:
            """Docstring."""
            return sign_up(desk)

        assert (join.__name__, join.__doc__) == ("join", "Docstring.")
        assert visit(desk) == 200
        desk.expect_exactly_the_customers(1)

    def test_without_a_session_the_row_is_ours_alone(self, desk: Desk) -> None:
        desk.app.post("/join")(decorated(desk, lambda: sign_up(desk), session=None))
        assert visit(desk) == 200
        desk.expect_exactly_the_customers(1)


ANSWERS: dict[str, tuple[Callable[[], Any], str]] = {
    "text": (lambda: "", "pending"),
    "204": (lambda: ("", 204), "pending"),
    "redirect": (lambda: redirect("/"), "pending"),
    "headers only": (lambda: ("", {"X-A": "b"}), "pending"),
    "JSON": (lambda: {"ok": True}, "pending"),
    "400": (lambda: ("", 400), "withdrawn"),
    "500 and headers": (lambda: ("", 500, {"X-A": "b"}), "withdrawn"),
    "status text": (lambda: ("", "422 UNPROCESSABLE"), "withdrawn"),
    "response": (lambda: Response("", 409), "withdrawn"),
    "response and headers": (lambda: (Response("", 409), {"X-A": "b"}), "withdrawn"),
    "returned exception": (NotFound, "withdrawn"),
    "abort with an error": (lambda: abort(400), "withdrawn"),
    "abort with a response": (lambda: abort(Response("", 403)), "withdrawn"),
    "abort with a redirect": (lambda: abort(redirect("/")), "pending"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_error_withdraws_what_was_committed(desk: Desk, answer: str) -> None:
    made, expected = ANSWERS[answer]

    def join() -> Any:
        sign_up(desk)
        return made()

    desk.app.post("/join")(decorated(desk, join))
    assert (visit(desk) >= 400) == (expected == "withdrawn")
    assert conversions(desk.uri) == [("1", expected)]


class TestWithdrawn:
    @pytest.fixture
    def withdrawn(self, desk: Desk) -> Desk:
        def join() -> tuple[str, int]:
            g.user = desk.db.session.get(desk.user_model, 1) or desk.new_user()
            g.user.email = request.args.get("status", "none")
            desk.db.session.commit()
            return "", request.args.get("status", 500, int)

        desk.app.post("/join")(decorated(desk, join))
        assert visit(desk) == 500
        return desk

    def test_says_why_and_is_not_sent(self, withdrawn: Desk) -> None:
        withdrawn.clock.advance(days=1)
        assert withdrawn.drain() == []
        [row] = read(withdrawn.uri, "SELECT status, detail FROM s2s_delivery")
        assert row == ("withdrawn", "the view answered 500")

    def test_is_sent_when_somebody_wants_it(self, withdrawn: Desk) -> None:
        services = withdrawn.services
        retried = services.ledger.retry(Wanted(), withdrawn.clock.now(), services.settings.give_up)
        assert (retried, withdrawn.drain()) == (1, ["1"])

    def test_is_taken_over_by_the_view_s_next_success(self, withdrawn: Desk) -> None:
        assert visit(withdrawn, path="/join?status=200") == 200
        assert conversions(withdrawn.uri) == [("1", "pending")]
        assert withdrawn.drain() == ["1"]

    def test_stays_withdrawn_when_the_view_fails_again(self, withdrawn: Desk) -> None:
        assert visit(withdrawn, path="/join?status=503") == 503
        [row] = read(withdrawn.uri, "SELECT status, detail FROM s2s_delivery")
        assert row == ("withdrawn", "the view answered 503")


class TestNothingToRecord:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_safe_methods(self, desk: Desk, method: str) -> None:
        view = decorated(desk, lambda: sign_up(desk))
        desk.app.add_url_rule("/join", view_func=view, methods=["GET", "POST"], endpoint="join")
        assert visit(desk, method) == 200
        assert conversions(desk.uri) == []

    def test_an_invalid_form_shown_again(self, desk: Desk) -> None:
        key = lambda: g.get("user") and g.user.id  # noqa: E731
        desk.app.post("/join")(decorated(desk, lambda: "try again", customer_key=key))
        assert visit(desk) == 200
        assert conversions(desk.uri) == []

    @pytest.mark.parametrize("nothing", [None, (None, 200)])
    def test_a_view_that_forgets_to_answer(self, production: Desk, nothing: Any) -> None:
        """Flask makes an error of it."""

        def join() -> Any:
            sign_up(production)
            return nothing

        production.app.post("/join")(decorated(production, join))
        assert visit(production) == 500
        assert [status for _, status in conversions(production.uri)] == ["withdrawn"]

    def test_an_invalid_form_that_committed_something(self, desk: Desk) -> None:
        def join() -> str:
            desk.new_user("a record of the try")
            desk.db.session.commit()
            return "try again"

        key = lambda: g.get("user") and g.user.id  # noqa: E731
        desk.app.post("/join")(decorated(desk, join, customer_key=key))
        assert visit(desk) == 200
        assert conversions(desk.uri) == []

    @pytest.mark.parametrize(("paid", "expected"), [(True, 1), (False, 0)])
    def test_when_it_says_so(self, desk: Desk, paid: bool, expected: int) -> None:
        desk.app.post("/join")(decorated(desk, lambda: sign_up(desk), when=lambda: paid))
        assert visit(desk) == 200
        assert len(conversions(desk.uri)) == expected


def test_fields_are_values_or_callables(desk: Desk) -> None:
    view = decorated(
        desk, lambda: sign_up(desk), email=lambda: g.user.email, origin="shop.example", name=None
    )
    desk.app.post("/join")(view)
    assert visit(desk) == 200
    desk.drain()
    body = desk.transport.requests[0].body or {}
    assert (body["email"], body["origin"]) == ("a@b.example", "shop.example")
    assert "name" not in body


async def asynchronous() -> Any:
    return 1


class TestRefusedAtDecoration:
    def test_a_field_that_does_not_exist(self, desk: Desk) -> None:
        with pytest.raises(TypeError, match="emial"):
            decorated(desk, lambda: "", emial="a@b.example")

    def test_a_kind_that_does_not_exist(self, desk: Desk) -> None:
        kind: Any = "sign-up"
        with pytest.raises(UsageError, match="sign-up"):
            desk.s2s.conversion(kind, customer_key=lambda: 1)

    def test_no_parentheses(self, desk: Desk) -> None:
        conversion: Any = desk.s2s.conversion
        with pytest.raises(UsageError, match=r"write @s2s\.conversion\(customer_key=lambda: "):
            conversion(lambda: "welcome")

    @pytest.mark.parametrize("key", ["42", None])
    def test_a_customer_key_that_is_no_function(self, desk: Desk, key: Any) -> None:
        with pytest.raises(UsageError, match=r"customer_key=lambda: \.\.\."):
            desk.s2s.conversion(customer_key=key)

    @pytest.mark.parametrize("argument", ["customer_key", "when", "email"])
    @pytest.mark.parametrize("function", [asynchronous, lambda user: user], ids=["async", "taking"])
    def test_a_function_that_cannot_be_called_as_it_is(
        self, desk: Desk, argument: str, function: Any
    ) -> None:
        with pytest.raises(UsageError, match=rf"conversion\({argument}="):
            decorated(desk, lambda: "", **{argument: function})

    def test_a_mapper_that_would_be_awaited(self, desk: Desk) -> None:
        with pytest.raises(UsageError, match="write it with def"):
            desk.s2s.connect(Signal("told"), asynchronous)  # type: ignore[arg-type]

    def test_not_a_proxy_of_what_is_found_in_a_request(self, desk: Desk) -> None:
        key: Any = LocalProxy(lambda: lambda: g.user.id)
        desk.app.post("/join")(decorated(desk, lambda: sign_up(desk), customer_key=key))
        assert visit(desk) == 200
        desk.expect_exactly_the_customers(1)

    def test_a_class(self, desk: Desk) -> None:
        with pytest.raises(UsageError, match=r"decorators = \[s2s\.conversion\(customer_key="):

            @desk.s2s.conversion(customer_key=lambda: 1)
            class Join(MethodView):
                pass

    def test_a_thing_that_is_no_view(self, desk: Desk) -> None:
        view: Any = property(lambda self: "")
        with pytest.raises(UsageError, match="above def"):
            decorated(desk, view)

    def test_not_a_view_of_an_extension_s_that_is_routed_already(self, desk: Desk) -> None:
        """As Flask-Security's: its place in `view_functions` is taken after that."""
        desk.app.add_url_rule("/join", "join", lambda: sign_up(desk), methods=["POST"])
        desk.app.view_functions["join"] = decorated(desk, desk.app.view_functions["join"])
        assert visit(desk) == 200
        desk.expect_exactly_the_customers(1)

    def test_not_a_view_that_also_shows_its_form_without_it(self, desk: Desk) -> None:
        def join() -> str:
            return sign_up(desk) if request.method == "POST" else "a form"

        desk.app.get("/form")(join)
        desk.app.add_url_rule("/join", "joined", decorated(desk, join), methods=["POST"])
        assert (visit(desk, "GET", "/form"), visit(desk)) == (200, 200)
        desk.expect_exactly_the_customers(1)


def broken_key() -> int:
    raise BadRequest("a mistake in the host's own callable")


class TestMistakes:
    @pytest.mark.parametrize("session", ["session", "none"])
    def test_harm_no_page_in_production(
        self, production: Desk, session: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        options = {} if session == "session" else {"session": None}
        view = decorated(
            production, lambda: sign_up(production), customer_key=broken_key, **options
        )
        production.app.post("/join")(view)
        with caplog.at_level(logging.ERROR, "flask_s2s.conversion"):
            assert visit(production) == 200
        assert conversions(production.uri) == []
        assert [r.action for r in caplog.records] == ["conversion.failed"]  # type: ignore[attr-defined]

    def test_harm_no_commit_after_the_view_in_production(self, production: Desk) -> None:
        def join() -> str:
            production.new_user()
            return ""

        @production.app.after_request
        def commit(response: Response) -> Response:
            production.db.session.commit()
            return response

        production.app.post("/join")(decorated(production, join, customer_key=broken_key))
        assert visit(production) == 200
        assert read(production.uri, "SELECT count(*) FROM user") == [1]

    @pytest.mark.parametrize("setting", ["TESTING", "DEBUG"])
    def test_are_raised_while_developing(self, sqlite_url: str, setting: str) -> None:
        desk = Desk(sqlite_url, **(UNATTENDED | {setting: True, "PROPAGATE_EXCEPTIONS": True}))
        desk.app.post("/join")(decorated(desk, lambda: sign_up(desk), customer_key=broken_key))
        assert visit(desk) == 400

    def test_in_a_mapper_harm_no_page_in_production(self, production: Desk) -> None:
        told = Signal("broken")
        production.s2s.connect(told, lambda sender: broken_key(), session=production.db.session)  # type: ignore[arg-type, return-value]
        production.s2s.connect(told, lambda sender: {"customer_key": 1})  # type: ignore[arg-type, return-value]

        def view() -> None:
            production.new_user()
            told.send(production.app)
            production.db.session.commit()

        assert production.post(view) == 200
        assert read(production.uri, "SELECT count(*) FROM user") == [1]
