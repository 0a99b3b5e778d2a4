"""The statuses of a run, told to whoever asked for it, from the request to the end."""

from __future__ import annotations

from tests.integration.bridge.client import BridgeClient, asking, bridge_client
from tests.integration.bridge.conftest import eventually
from tests.integration.service.servers import NatsServer, Rig
from workflows.outcome import FailureClass, Outcome

WHOLE = ["submitted", "pending", "running", "running", "succeeded"]


async def test_a_client_follows_its_request_to_the_end(rig: Rig, nats: NatsServer, client: BridgeClient) -> None:
    await rig.work()
    async with bridge_client(nats.url, packed=True) as packed:
        await packed.publish(asking("packed", rate=3))
        await packed.status("packed", "succeeded")
        assert packed.statuses("packed") == WHOLE
        client.seen.clear()  # it cannot read the other encoding, and was not asked to
    await client.publish(asking("r-1", rate=2))
    last = await client.status("r-1", "succeeded")
    assert client.statuses("r-1") == WHOLE
    seen = client.seen["r-1"]
    assert {one["run_id"] for one in seen} == {last["run_id"]}
    assert {(one["request_id"], one["pipeline"], one["engine"]) for one in seen} == {("r-1", "training", "argo")}
    assert [one["message"] for one in seen if one["status"] == "running"] == [
        "step 'prepare' runs on argo",
        "step 'train' runs on argo",
    ]
    assert last["outputs"] == {"rate": 2.0}
    times = [one["timestamp"] for one in seen[1:]]
    assert times == sorted(times)

    again = await client.request(asking("r-1", rate=2))
    assert again["run_id"] == last["run_id"]
    repeated = await client.status("r-1", "succeeded", count=2)
    assert (repeated["run_id"], repeated["outputs"]) == (last["run_id"], last["outputs"])


async def test_failure_and_cancellation_are_failed_with_the_reason(rig: Rig, client: BridgeClient) -> None:
    rig.engine.script["prepare"] = [Outcome(failure=FailureClass.FAILED, message="no disk left"), None]
    await rig.work()
    await client.publish(asking("breaks"))
    assert "no disk left" in (await client.status("breaks", "failed"))["message"]
    await client.publish(asking("ended", "kf-training"))
    run_id = (await client.status("ended", "running"))["run_id"]
    async with rig.client() as api:
        await api.cancel(run_id)
    last = await client.status("ended", "failed")
    assert last["message"].startswith("cancelled")
    assert {one["engine"] for one in client.seen["ended"]} == {"kubeflow"}


async def test_a_burst_is_told_in_order(rig: Rig, client: BridgeClient) -> None:
    await rig.work()
    names = [f"burst-{n}" for n in range(10)]
    for name in names:
        await client.connection.publish("ai.pipeline.trigger", client.write(asking(name)))
    for name in names:
        await client.status(name, "succeeded")

    async def whole() -> bool:
        return all(client.statuses(name) == WHOLE for name in names)

    await eventually(whole)
