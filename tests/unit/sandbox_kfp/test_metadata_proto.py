"""The numbers on the wire: a client of ours must read a real server, so they cannot be ours to choose."""

import pytest

from workers.engines.kfp.proto import metadata_store_pb2 as pb


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (
            pb.Artifact(id=1, type_id=2, uri="u", state=pb.Artifact.LIVE, name="n", type="t"),
            "080110021a017530023a016e420174",
        ),
        (
            pb.Execution(id=1, type_id=2, last_known_state=pb.Execution.CACHED, name="n", type="t"),
            "08011002180532016e3a0174",
        ),
        (pb.Context(id=1, type_id=2, name="n", type="t"), "080110021a016e320174"),
        (pb.Event(artifact_id=1, execution_id=2, type=pb.Event.OUTPUT), "080110022004"),
        (pb.Event(path=pb.Event.Path(steps=[pb.Event.Path.Step(key="k")])), "1a050a0312016b"),
        (pb.Value(double_value=1.0), "11000000000000f03f"),
        (pb.Value(bool_value=True), "3001"),
        (pb.GetContextByTypeAndNameRequest(type_name="t", context_name="c"), "0a0174120163"),
        (
            pb.GetExecutionsByContextRequest(context_id=3, options=pb.ListOperationOptions(max_result_size=5)),
            "080312020805",
        ),
        (pb.GetArtifactsByIDRequest(artifact_ids=[1, 2], populate_artifact_types=True), "080108021801"),
    ],
)
def test_a_message_is_the_same_bytes_as_with_ml_metadatas_own_protocol(message: pb.Artifact, wire: str) -> None:
    assert message.SerializeToString(deterministic=True).hex() == wire
    assert type(message).FromString(bytes.fromhex(wire)) == message


def test_the_service_has_ml_metadatas_name() -> None:
    service = pb.DESCRIPTOR.services_by_name["MetadataStoreService"]
    assert service.full_name == "ml_metadata.MetadataStoreService"
