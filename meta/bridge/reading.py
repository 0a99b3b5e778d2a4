"""Reads a dead request of the bridge again, for `meta.triggers.replay`."""

from __future__ import annotations

from meta.bridge.desk import FORMAT, Desk, Mail
from meta.store.event_tables import TriggerEventRow
from meta.triggers.replay import Reading, Wanted
from workflows.errors import InvalidInput


def reading(desk: Desk) -> Reading:
    """How events of the source `bridge` are read: by the desk's catalogue as it is now."""

    async def read(row: TriggerEventRow) -> Wanted:
        headers = {name: str(value) for name, value in row.headers.items()}
        mail = Mail(row.subject, row.data or b"", headers, sent=row.event_time or row.received_at)
        request = desk.read(mail.data)
        if request.fault:
            raise InvalidInput(request.fault, hint="have its sender mend it and send it again")
        wanted = await desk.wanted(request, mail)
        return Wanted(wanted.ask, wanted.event, reply_format=FORMAT, context=wanted.context)

    return read
