"""Signing in, the first admin, changing one's password, signing out: plain forms, which need no script."""

from __future__ import annotations

import secrets
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from llmasos.errors import InvalidRequest, LLMasOSError, RequestTooLarge, TooManyRequests, Unauthorised
from llmasos.i18n import speaking, t
from llmasos.studio import address, preferences
from llmasos.studio.accounts.attempts import Counted, counted
from llmasos.studio.accounts.door import FORM_TOKEN, Door
from llmasos.studio.accounts.passwords import SHORTEST
from llmasos.studio.accounts.plain_page import Field, Form, expired
from llmasos.studio.accounts.users import LONGEST_NAME, User, folded
from llmasos.studio.accounts.visitor import Visitor
from llmasos.studio.guard import SESSION_COOKIE, VISITOR

FORM_COOKIE = "llmasos_form"
"""Ties a form to a browser that has no session yet."""
_LARGEST_FORM = 16 * 1024


def routes(door: Door) -> APIRouter:
    """The routes below the Studio's root."""
    router = APIRouter(prefix=address.ROOT, include_in_schema=False)
    pages = _Pages(door)
    router.add_api_route(address.sign_in(), pages.show_sign_in, methods=["GET"], response_model=None)
    router.add_api_route(address.sign_in(), pages.sign_in, methods=["POST"], response_model=None)
    router.add_api_route(address.first_admin(), pages.show_first_admin, methods=["GET"], response_model=None)
    router.add_api_route(address.first_admin(), pages.first_admin, methods=["POST"], response_model=None)
    router.add_api_route(address.password(), pages.show_password, methods=["GET"], response_model=None)
    router.add_api_route(address.password(), pages.password, methods=["POST"], response_model=None)
    router.add_api_route(address.sign_out(), pages.sign_out, methods=["POST"], response_model=None)
    router.add_api_route(address.session(), pages.session, methods=["GET"], response_model=None)
    return router


class _Pages:
    def __init__(self, door: Door) -> None:
        self._door = door

    # Signing in

    async def show_sign_in(self, request: Request) -> Response:
        with speaking(preferences.read(request).language):
            if _visitor(request) is not None:
                return _go(_wanted(request.query_params.get("next", "")))
            if not await self._door.has_users() and self._door.setup_code is not None:
                return _go(address.ROOT + address.first_admin())
            return self._page(request, _sign_in_form(wanted=_wanted(request.query_params.get("next", ""))))

    async def sign_in(self, request: Request) -> Response:
        with speaking(preferences.read(request).language):
            values = await _read(request)
            name, wanted = values.get("name", ""), _wanted(values.get("next", ""))
            form = _sign_in_form(name=name[:LONGEST_NAME], wanted=wanted)
            try:
                self._check_form(request, values)
                user = await self._door.check(name, values.get("password", ""), _counted(request, folded(name)))
                if user is None:
                    raise Unauthorised(t("the name or the password is wrong"))
            except LLMasOSError as error:
                return self._page(request, form, error)
            return self._let_in(request, await self._begin(request, user), wanted)

    # The first admin

    async def show_first_admin(self, request: Request) -> Response:
        with speaking(preferences.read(request).language):
            if self._door.setup_code is None:
                return _go(address.ROOT + address.sign_in())
            return self._page(request, _first_admin_form())

    async def first_admin(self, request: Request) -> Response:
        with speaking(preferences.read(request).language):
            values = await _read(request)
            form = _first_admin_form(values.get("name", "")[:LONGEST_NAME])
            try:
                self._check_form(request, values)
                _check_again(values)
                user = await self._door.make_first(
                    values.get("code", ""), values.get("name", ""), values.get("password", ""),
                    _counted(request, "setup code"),
                )  # fmt: skip
            except LLMasOSError as error:
                return self._page(request, form, error)
            return self._let_in(request, await self._begin(request, user), address.ROOT + address.home())

    # Changing one's password

    async def show_password(self, request: Request) -> Response:
        with speaking(preferences.read(request).language):
            visitor = _visitor(request)
            if visitor is None or visitor.session is None:
                return _go(address.ROOT + address.sign_in())
            return self._page(request, _password_form(visitor))

    async def password(self, request: Request) -> Response:
        with speaking(preferences.read(request).language):
            visitor = _visitor(request)
            if visitor is None or visitor.session is None or visitor.name is None:
                return _go(address.ROOT + address.sign_in())
            name = visitor.name
            values = await _read(request)
            try:
                self._check_form(request, values)
                _check_again(values)
                if await self._door.check(name, values.get("current", ""), _counted(request, folded(name))) is None:
                    raise Unauthorised(t("the present password is wrong"))
                user = await self._door.change(lambda: self._door.users.set_password(name, values.get("password", "")))
            except LLMasOSError as error:
                return self._page(request, _password_form(visitor), error)
            return self._let_in(request, await self._begin(request, user), address.ROOT + address.home())

    # Sessions

    async def sign_out(self, request: Request) -> Response:
        with speaking(preferences.read(request).language):
            visitor = _visitor(request)
            try:
                self._check_form(request, await _read(request))
            except LLMasOSError as error:
                return self._page(request, _sign_in_form(), error)
            if visitor is not None and visitor.session is not None:
                await self._door.end(visitor.session)
            answer = _go(address.ROOT + address.sign_in())
            answer.delete_cookie(SESSION_COOKIE, path=address.ROOT)
            return answer

    async def session(self, request: Request) -> Response:
        """Whether this browser is signed in: asked by pages whose connection was lost."""
        return JSONResponse({"signed_in": _visitor(request) is not None}, headers={"cache-control": "no-store"})

    async def _begin(self, request: Request, user: User) -> str:
        return await self._door.begin(user, instead_of=request.cookies.get(SESSION_COOKIE))

    def _let_in(self, request: Request, secret: str, target: str) -> Response:
        answer = _go(target)
        answer.set_cookie(
            SESSION_COOKIE, secret, path=address.ROOT, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        answer.delete_cookie(FORM_COOKIE, path=address.ROOT)
        return answer

    def _page(self, request: Request, form: Form, error: LLMasOSError | None = None) -> Response:
        """A form with our token, which is tied to the session, or to a cookie that is made here."""
        visitor = _visitor(request)
        cookie = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(32)
        binding = visitor.session if visitor is not None and visitor.session else cookie
        form = replace(form, hidden={**form.hidden, FORM_TOKEN: self._door.form_token(binding)})
        answer = form.answer(preferences.read(request), error=error, status=200 if error is None else error.http_status)
        if binding == cookie:
            answer.set_cookie(
                FORM_COOKIE, cookie, path=address.ROOT, httponly=True, samesite="strict",
                secure=request.url.scheme == "https",
            )  # fmt: skip
        if isinstance(error, TooManyRequests):
            answer.headers["retry-after"] = str(int(error.retry_after) + 1)
        return answer

    def _check_form(self, request: Request, values: dict[str, str]) -> None:
        """Refuse a form that was not made by us for this browser."""
        visitor = _visitor(request)
        binding = visitor.session if visitor is not None and visitor.session else request.cookies.get(FORM_COOKIE, "")
        if not self._door.is_form_token(values.get(FORM_TOKEN, ""), binding or ""):
            raise expired()


def _sign_in_form(*, name: str = "", wanted: str = "") -> Form:
    return Form(
        t("Sign in"), t("This Studio is for the people that its admins know."), address.ROOT + address.sign_in(),
        t("Sign in"),
        [Field("name", t("Name"), "username", value=name),
         Field("password", t("Password"), "current-password", secret=True)],
        {"next": wanted} if wanted else {},
    )  # fmt: skip


def _first_admin_form(name: str = "") -> Form:
    return Form(
        t("The first admin"), t("Nobody can sign in yet. Whoever started the server makes the first account."),
        address.ROOT + address.first_admin(), t("Make the account"),
        [Field("code", t("Setup code"), "one-time-code",
               explanation=t("It is printed where the server was started, and is good once.")),
         Field("name", t("Name"), "username", value=name), *_new_password()],
        {},
    )  # fmt: skip


def _password_form(visitor: Visitor) -> Form:
    return Form(
        t("Change the password"), t("It signs you out everywhere else."), address.ROOT + address.password(),
        t("Change"),
        [Field("current", t("Present password"), "current-password", secret=True), *_new_password()],
        {"name": visitor.name or ""},
    )  # fmt: skip


def _new_password() -> list[Field]:
    return [
        Field("password", t("New password"), "new-password", secret=True,
              explanation=t("At least {count} characters.", count=SHORTEST)),
        Field("again", t("New password again"), "new-password", secret=True),
    ]  # fmt: skip


def _check_again(values: dict[str, str]) -> None:
    if values.get("password", "") != values.get("again", ""):
        raise InvalidRequest(t("the two new passwords differ"), hint=t("Write the same one twice."))


def _visitor(request: Request) -> Visitor | None:
    visitor: Visitor | None = request.scope[VISITOR]
    return visitor


def _counted(request: Request, account: str) -> list[Counted]:
    return counted(account[:LONGEST_NAME], request.client.host if request.client is not None else "")


def _wanted(text: str) -> str:
    """A page of the Studio to go to afterwards; never another place, whatever a link says."""
    parts = urlsplit(text)
    own = text.startswith(f"{address.ROOT}/") and not parts.scheme and not parts.netloc
    odd = "\\" in text or not text.isprintable() or parts.path.removeprefix(address.ROOT) in address.OPEN_TO_ALL
    return text if own and not odd else address.ROOT + address.home()


def _go(target: str) -> Response:
    return RedirectResponse(target, 303, headers={"cache-control": "no-store"})


async def _read(request: Request) -> dict[str, str]:
    """The fields of a form, which is small: strangers may send one.

    Raises:
        RequestTooLarge: it is not.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_FORM:
            raise RequestTooLarge(t("the form is larger than {limit} bytes", limit=_LARGEST_FORM))
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=32)
    except ValueError as error:
        raise InvalidRequest(t("the form has too many fields")) from error
    return {name: values[0] for name, values in fields.items()}
