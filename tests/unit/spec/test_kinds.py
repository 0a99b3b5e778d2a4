"""A step has only keys that mean something for what it runs; what it runs makes sense."""

import pytest

from tests.support.definitions import problems

STEPS = """\
inputs: {when: {type: string}, rows: {type: integer}}
steps:
  make: {argo: {template: make}}
  ask:
    approval: {prompt: "Use ${{ steps.make.artifacts.model.uri }}?", approvers: [ann], timeout: 24h, onTimeout: reject}
    parameters: {rows: "${{ inputs.rows }}"}
    artifacts: {model: "${{ steps.make.artifacts.model }}"}
  pause: {wait: {duration: 5m}, needs: [ask]}
  until: {wait: {until: "${{ inputs.when }}"}, timeout: 1h}
  message:
    wait:
      event: {subject: "ml.${{ inputs.when }}.*", when: event.rows > inputs.rows && steps.make.state == 'succeeded'}
  child:
    workflow: {name: other}
    parameters: {rows: "${{ steps.message.outputs.event.rows }}"}
    outputs: {score: number}
    retry: {attempts: 2}
  call:
    when: steps.ask.outputs.approved && steps.ask.outputs.by != 'bob'
    activity: {name: notify, taskQueue: mails, heartbeatTimeout: 10s}
    parameters: {score: "${{ steps.child.outputs.score * 2 }}"}
  choose:
    useCase: training
    argo: {template: train}
    kfp: {pipeline: train}
    cache: {ttl: 7d, key: "${{ inputs.rows }}"}
"""


def test_every_kind_of_step_is_accepted() -> None:
    assert problems(STEPS) == []


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        # approvals
        ('prompt: "Use ${{ steps.make.artifacts.model.uri }}?"', "prompt: ' '", "the prompt is blank", "say what"),
        ("model.uri }}?", "modl }}?", "", ""),
        ("inputs.rows }}", "inputs.row }}", "unknown input 'row'", "did you mean 'rows'?"),
        ("timeout: 24h, onTimeout", "onTimeout", "no 'timeout' that it could follow", "give one"),
        ("[ann]", "[ann, ann]", "'ann' stands twice", ""),
        ("timeout: 24h", "timeout: 0s", "a timeout of nothing", ""),
        ("    parameters: {r", "    outputs: {x: number}\n    parameters: {r", "an approval has no 'outputs'", "dig"),
        ("    parameters: {r", "    retry: {attempts: 2}\n    parameters: {r", "an approval has no 'retry'", "once"),
        ("    parameters: {r", "    cache: true\n    parameters: {r", "cannot be cached", "engine"),
        ("outputs.approved &&", "outputs.aproved &&", "step 'ask' has no output 'aproved' (it is", "'approved'?"),
        ("by != 'bob'", "by > 1", "'>' cannot be applied to a string and an integer", ""),
        # waits
        ("duration: 5m", "duration: 0s", "'duration' of nothing", ""),
        ("duration: 5m}", "duration: 5m}, parameters: {a: 1}", "a wait has no 'parameters'", ""),
        ("duration: 5m}", "duration: 5m}, artifacts: {a: s3://b/c}", "a wait has no 'artifacts'", ""),
        ("duration: 5m}", "duration: 5m}, timeout: 5m", "takes longer than its timeout", "leave"),
        ("duration: 5m}", "duration: 5m}, attemptTimeout: 5m", "a wait has no 'attemptTimeout'", "write timeout"),
        ("duration: 5m}", "duration: 5m}, compensate: {argo: {template: t}}", "nothing that could be taken back", ""),
        ("inputs.when }}\"}, t", "inputs.rows }}\"}, t", "a string is wanted, and this is an integer", "string(x)"),
        ("event.rows > inputs.rows", "rows > inputs.rows", "there is no name 'rows'", ""),
        ("event.rows > inputs.rows", "event.rows > item", "there is no 'item' here", "'foreach'"),
        ("when: event.rows > inputs.rows && steps.make.state == 'succeeded'", "when: '1'", "must be true or", ""),
        ("steps.make.state == 'succ", "steps.mak.state == 'succ", "unknown step 'mak'", "did you mean 'make'?"),
        ('"ml.${{ inputs.when }}.*"', "$JS.>", "is the server's own", ""),
        ("outputs.event.rows", "outputs.evnt.rows", "step 'message' has no output 'evnt' (it is a wait)", "'event'?"),
        # workflows and activities
        ("name: other", "name: chain", "would run itself again, without an end", "'when'"),
        ("parameters: {rows: \"${{ steps.m", "parameters: {Rows: \"${{ steps.m", "no input can be called 'Rows'", ""),
        ("attempts: 2}", "attempts: 2, strategy: resume}", "only an engine's run can be resumed", "anew"),
        ("heartbeatTimeout: 10s}", "heartbeatTimeout: 10s}\n    artifacts: {a: s3://b/c}", "has no 'artifacts'", "uri"),
        ("    outputs: {score", "    cancelGrace: 1m\n    outputs: {score", "only Argo knows a stop", "leave it out"),
        ("steps.child.outputs.score", "steps.child.outputs.scor", "no output 'scor' (not under", "'score'?"),
        ("taskQueue: mails", 'taskQueue: "${{ inputs.when }}"', "'taskQueue' holds no expressions", ""),
        ("heartbeatTimeout: 10s", "heartbeatTimeout: 0s", "a timeout of nothing", ""),
        # use cases and the cache
        ("argo: {template: train}", "argo: {template: train, engine: west}", "the use case says which engine", "leave"),
        (', key: "${{ inputs.rows }}"', "", "'train' can change on its server", "key"),
        ("ttl: 7d", "ttl: 0s", "a ttl of nothing", ""),
        ("inputs.rows }}\"}\n", "inputs.rws }}\"}\n", "unknown input 'rws'", "did you mean 'rows'?"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_with_the_mend(old: str, new: str, message: str, hint: str) -> None:
    assert old in STEPS
    found = problems(STEPS.replace(old, new, 1))
    if not message:
        assert found == []  # what a template on the server gives is not known here
        return
    matching = [p for p in found if message in p.message]
    assert matching, found
    assert hint in matching[0].hint
    assert matching[0].line > 3 and matching[0].column > 0


def test_a_meta_workflow_may_run_itself_where_a_condition_ends_it() -> None:
    steps = "steps: {a: {argo: {template: t}}, again: {workflow: {name: chain}, when: steps.a.state == 'failed'}}"
    assert problems(steps) == []
