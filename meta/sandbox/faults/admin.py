"""`/sandbox/faults`: the rules of a running server, beside its API. Only there when the server was started for it.

GET shows the plan and how often each rule has happened, PUT takes another plan, DELETE takes all rules away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.faults.rules import FaultPlan, problems

if TYPE_CHECKING:
    from meta.sandbox.faults.middleware import FaultInjector

PATH = "/sandbox/faults"


def admin_routes(injector: FaultInjector) -> list[Route]:
    """The routes, for one server's injector."""

    def shown() -> Response:
        ledger = injector.ledger
        rules = [
            {
                **rule.model_dump(mode="json", exclude_defaults=True),
                "text": str(rule),
                "matched": matched,
                "fired": fired,
            }
            for rule, matched, fired in ledger.tally()
        ]
        return JSONResponse({"seed": ledger.plan.seed, "rules": rules, "on_runs": ledger.tally_of_runs()})

    async def show(request: Request) -> Response:
        return shown()

    async def replace(request: Request) -> Response:
        try:
            injector.replace(FaultPlan.model_validate_json(await request.body()))
        except ValidationError as error:
            return JSONResponse({"message": problems(error)}, 400)
        except ValueError as error:
            return JSONResponse({"message": str(error)}, 400)
        return shown()

    async def clear(request: Request) -> Response:
        injector.replace(FaultPlan(seed=injector.ledger.plan.seed))
        return shown()

    return [
        Route(PATH, show, methods=["GET"]),
        Route(PATH, replace, methods=["PUT"]),
        Route(PATH, clear, methods=["DELETE"]),
    ]
