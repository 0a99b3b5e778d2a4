"""Faults of HTTP: an application around the server's own, and what each engine adds to it."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from meta.sandbox.faults.admin import admin_routes
from meta.sandbox.faults.call import Call, Route
from meta.sandbox.faults.kinds import EngineName, Kind
from meta.sandbox.faults.ledger import Ledger, Occasion
from meta.sandbox.faults.rules import FaultPlan, FaultRule
from meta.sandbox.faults.stream import EVENT_KINDS
from workflows.errors import SettingsInvalid

_log = logging.getLogger(__name__)
_REFUSING = frozenset(
    {
        Kind.LOST_REQUEST, Kind.UNAVAILABLE, Kind.TOO_MANY_REQUESTS, Kind.SERVER_ERROR, Kind.QUOTA_CONFLICT,
        Kind.RETRY_CONFLICT,
    }
)  # fmt: skip


class FaultInjector(ABC):
    """One per server. Each engine says which requests there are, whose they are, and how its errors look.

    Args:
        plan: the rules at the start.
        admin: whether the rules can be changed while the server runs; any rule at the start allows it too.

    Raises:
        SettingsInvalid: a rule that the engine cannot follow.
    """

    engine: EngineName
    routes: Sequence[Route]

    def __init__(self, plan: FaultPlan, *, admin: bool = False) -> None:
        try:
            plan.check(self.engine)
        except ValueError as error:
            raise SettingsInvalid(f"--fault: {error}", hint="see docs/sandbox-faults.md") from error
        self.ledger = Ledger(plan)
        self._admin = admin or bool(plan.rules)
        self._app: ASGIApp | None = None
        self.watched = False  # whether a run has a rule about its events

    def install(self, app: Starlette) -> Starlette:
        """Put the faults around everything else of an application."""
        if self._admin:
            app.router.routes.extend(admin_routes(self))
        self._app = app.build_middleware_stack()
        app.middleware_stack = self
        return app

    def replace(self, plan: FaultPlan) -> None:
        """Take other rules.

        Raises:
            ValueError: a rule that the engine cannot follow; nothing has changed.
        """
        plan.check(self.engine)
        self.ledger.replace(plan)

    @abstractmethod
    def occasion(self, verb: str, run: str, call: Call) -> Occasion:
        """What a request is about.

        Raises:
            ValueError: the run that it would create carries rules that are wrong.
        """

    @abstractmethod
    def refused(self, message: str) -> Response:
        """The engine's answer to an invalid argument."""

    @abstractmethod
    def failed(self, rule: FaultRule, run: str) -> Response:
        """The engine's answer for server-error, quota-conflict, retry-conflict.

        Args:
            rule: the fault.
            run: as it stands in the path.
        """

    async def carry_out(self, app: ASGIApp, call: Call, occasion: Occasion, run: str) -> None:
        """Let the server answer, with those faults that are the engine's own.

        Args:
            app: the server.
            call: the request.
            occasion: what it is about.
            run: as it stands in the path.
        """
        del occasion, run
        await call.run(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None, "install() comes first"
        call = Call(scope, receive, send)
        for route in self.routes if scope["type"] == "http" else ():
            if (run := route.run_of(scope)) is not None:
                await self._answer(self._app, call, route.verb, run)
                return
        await self._app(scope, receive, send)

    async def _answer(self, app: ASGIApp, call: Call, verb: str, run: str) -> None:
        if verb == "create":
            call = await call.read()
        try:
            occasion = self.occasion(verb, run, call)
            for rule in occasion.own:
                rule.check(self.engine, on_run=True)
        except ValueError as error:
            await call.answer(self.refused(str(error)))
            return
        self.watched = self.watched or any(rule.kind in EVENT_KINDS for rule in occasion.own)
        for rule in self.ledger.decide({Kind.SLOW}, occasion):
            await asyncio.sleep(rule.seconds)
        if (rule := self.ledger.first(_REFUSING, occasion)) is not None:
            if rule.kind is Kind.LOST_REQUEST:
                await call.hang_up()
            else:
                await call.answer(self._refusal(rule, run))
        elif self.ledger.first({Kind.LOST_RESPONSE}, occasion) is not None:
            try:
                await self.carry_out(app, Call(call.scope, call.receive, _nowhere, call.body), occasion, run)
            except Exception:  # the answer is lost, whatever it was
                _log.exception("%s failed behind a lost response", verb)
            await call.hang_up()
        else:
            await self.carry_out(app, call, occasion, run)

    def _refusal(self, rule: FaultRule, run: str) -> Response:
        if rule.kind is Kind.UNAVAILABLE:
            words = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
            return PlainTextResponse(rule.message or words, 503)
        if rule.kind is Kind.TOO_MANY_REQUESTS:
            after = str(round(rule.seconds))
            if self.engine is EngineName.ARGO:
                after = email.utils.formatdate(time.time() + rule.seconds, usegmt=True)
            return PlainTextResponse("Too Many Requests\n", 429, {"Retry-After": after})
        return self.failed(rule, run)


async def _nowhere(message: object) -> None:
    """Where an answer goes that is lost."""
