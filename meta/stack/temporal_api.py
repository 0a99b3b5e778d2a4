"""The two calls of Temporal's API that the supervisor and `meta doctor` ask.

temporalio is not imported for them: importing any of it loads its native library, with which short-lived processes
now and then crash at exit (temporalio/sdk-python issue 300). Only the fields that are read are described here; field
numbers are those of temporal/api/workflowservice/v1/request_response.proto and taskqueue/v1/message.proto.
"""

from __future__ import annotations

from typing import Any, cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import Message

_SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"
_Field = descriptor_pb2.FieldDescriptorProto


def describe_namespace(channel: grpc.Channel, namespace: str, timeout: float) -> None:
    """`DescribeNamespace`.

    Args:
        channel: to the front end.
        namespace: its name.
        timeout: seconds.

    Raises:
        grpc.RpcError: NOT_FOUND when there is none of that name.
    """
    call = channel.unary_unary(
        f"{_SERVICE}DescribeNamespace",
        request_serializer=_serialize,
        response_deserializer=bytes,
    )
    call(_message("NamespaceRequest", namespace=namespace), timeout=timeout)


def last_poll(channel: grpc.Channel, namespace: str, task_queue: str, timeout: float) -> float:
    """`DescribeTaskQueue`: when a worker last asked for a workflow task.

    Args:
        channel: to the front end.
        namespace: of the task queue.
        task_queue: its name.
        timeout: seconds.

    Returns:
        Seconds of the epoch; 0 when no worker asked within the last minutes.

    Raises:
        grpc.RpcError: as the server answers.
    """
    call = channel.unary_unary(
        f"{_SERVICE}DescribeTaskQueue",
        request_serializer=_serialize,
        response_deserializer=_classes["QueueReply"].FromString,
    )
    queue = _message("Queue", name=task_queue)
    request = _message("QueueRequest", namespace=namespace, task_queue=queue, task_queue_type=1)
    reply = cast("Any", call(request, timeout=timeout))
    polls = [p.last_access_time.seconds + p.last_access_time.nanos / 1e9 for p in reply.pollers]
    return max(polls, default=0.0)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _message(kind: str, /, **values: object) -> Message:
    return _classes[kind](**values)


def _build() -> dict[str, type[Message]]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="probe.proto", package="probe", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )
    text, number, message = _Field.TYPE_STRING, _Field.TYPE_INT32, _Field.TYPE_MESSAGE
    time = ".google.protobuf.Timestamp"
    shapes: dict[str, list[tuple[str, int, _Field.Type.ValueType, str]]] = {
        "NamespaceRequest": [("namespace", 1, text, "")],
        "Queue": [("name", 1, text, "")],
        "QueueRequest": [
            ("namespace", 1, text, ""),
            ("task_queue", 2, message, ".probe.Queue"),
            ("task_queue_type", 3, number, ""),
        ],
        "Poller": [("last_access_time", 1, message, time)],
        "QueueReply": [("pollers", 1, message, ".probe.Poller")],
    }
    for name, fields in shapes.items():
        shape = file.message_type.add(name=name)
        for field, tag, kind, of in fields:
            label = _Field.LABEL_REPEATED if field == "pollers" else _Field.LABEL_OPTIONAL
            shape.field.add(name=field, number=tag, type=kind, label=label, type_name=of or None)
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"probe.{name}")) for name in shapes}


_classes = _build()
