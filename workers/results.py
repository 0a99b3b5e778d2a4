"""What a foreign activity's result is as outputs of its step."""

from __future__ import annotations

from workflows.errors import InputsInvalid
from workflows.inputs import most_outputs, size_of
from workflows.kind_messages import TakeResult
from workflows.resolve import convert_outputs
from workflows.values import JsonObject


def take_result(message: TakeResult) -> JsonObject:
    """An object's fields are outputs, of the types that the step declares; null is none; all else is `result`.

    Raises:
        InputsInvalid: they are too large.
        ExpressionFailed: a declared one is missing, or cannot be converted.
    """
    result = message.result
    outputs: JsonObject = result if isinstance(result, dict) else {} if result is None else {"result": result}
    if (size := size_of(outputs)) > (most := most_outputs(message.key.index if message.key is not None else 0)):
        raise InputsInvalid(
            f"outputs of step {message.step} are {size // 1024} KB, the limit is {most // 1024} KB",
            hint="write large results to the object store and give their URI",
        )
    return convert_outputs(message.step, message.outputs, outputs)
