"""Serving the app: whom it answers, and what it takes from them."""

from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sdsearch.console import say
from sdsearch.errors import InputError
from sdsearch.study import read_study
from sdsearch_eval.app.pages import build_app
from sdsearch_eval.app.uploads import LARGEST_FILE, limit_uploads, trim_uploads
from sdsearch_eval.data import list_photos
from sdsearch_eval.jobs import open_console
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.middleware import Middleware
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sdsearch.study import AppRequest

_HERE = ("localhost", "127.0.0.1", "::1")
_LARGEST_BODY = LARGEST_FILE + 1_000_000
"""Bytes of a request: one file, and what is said of it."""
_POSTED = re.compile(
    r"/login|/gradio_api/(upload|component_server|queue/join|cancel|reset|(run|call)/.+)"
)
"""What the pages post to; gradio has other routes, of which one starts a program on an upload."""
_SENT_FILES = re.compile(r"/gradio_api/file[=/]")


def serve_app(request: AppRequest) -> None:
    """Serve the app of a study until it is stopped.

    Uploads and results go to STUDY/app; no other file of this machine can be asked for.

    Raises:
        InputError: the extra `app` is not installed, or the study cannot be opened.
    """
    study, world = read_study(request.study), open_world(1)
    limit_uploads()
    if photos := list_photos(study.config.protocol):
        open_console(world).print(str(photos), markup=False)
    place = study.root / "app"
    place.mkdir(exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(place / "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    reach_locally()
    try:
        page = build_app(study, world)
    except ImportError as error:
        raise InputError(f"the app needs {error.name}: pip install gradio") from None
    page.queue(default_concurrency_limit=1, max_size=16)
    page.launch(
        server_name=request.host,
        server_port=request.port,
        share=False,
        show_error=True,
        max_file_size=LARGEST_FILE,
        allowed_paths=[str(place)],
        footer_links=[],
        auth=choose_password(request.host),
        app_kwargs={"middleware": guards(request.host, place / "uploads")},
    )


def choose_password(host: str) -> tuple[str, str] | None:
    """User and password, new each time and said, where other machines may reach the app."""
    if host in _HERE:
        return None
    password = secrets.token_urlsafe(12)
    say(f"other machines may reach the app: user sdsearch, password {password}")
    return "sdsearch", password


def guards(host: str, uploads: Path) -> list[Middleware]:
    """What stands before the app: only its own pages ask it for anything.

    Another site's page could else have a browser send to it, or reach it under a name of its own.
    `uploads` is the folder of what was sent, which is kept small.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    own: list[Middleware] = [Middleware(OwnPages), Middleware(BoundedUploads, uploads=uploads)]
    if host in _HERE:
        own.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=list(_HERE)))
    return own


class OwnPages:
    """Refuses what other sites' pages send; nothing that was sent opens as a page of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on, one connection."""
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import PlainTextResponse

        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            said = (
                f"the app answers its own pages alone, those of {headers.get('host')}, but was "
                f"asked by one of {origin}; open it under its own address, by a tunnel from afar"
            )
            refused = PlainTextResponse(said, 403)
            await refused(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["x-content-type-options"] = "nosniff"
                if _SENT_FILES.match(scope["path"]):
                    answer["content-disposition"] = "attachment"
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BoundedUploads:
    """Refuses what the pages do not send, and large requests; keeps the folder of uploads small."""

    def __init__(self, app: ASGIApp, uploads: Path) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on, one connection."""
        from anyio import to_thread
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        if scope["type"] == "http" and scope["method"] == "POST":
            said = Headers(scope=scope).get("content-length", "")
            if not _POSTED.fullmatch(scope["path"].rstrip("/")):
                refused = PlainTextResponse("the app's pages do not ask for this", 404)
                await refused(scope, receive, send)
                return
            if not re.fullmatch(r"[0-9]{1,12}", said) or int(said) > _LARGEST_BODY:
                most = f"the app takes requests that say their size, of at most {_LARGEST_BODY:,}"
                await PlainTextResponse(f"{most} bytes", 413)(scope, receive, send)
                return
            await to_thread.run_sync(trim_uploads, self._uploads)
        await self._app(scope, receive, send)


def reach_locally() -> None:
    """Have this process reach this machine without the proxies that its environment names.

    Gradio asks its own server whether it is up. Proxies that its HTTP client cannot even read, such
    as SOCKS ones without their package, are forgotten.
    """
    import httpx

    for name in ("NO_PROXY", "no_proxy"):
        named = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*named, *_HERE]))
    try:
        httpx.Client().close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        say(f"the proxies of the environment are not used: {error}")
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]
