"""What starts KFP runs: http triggers of sensors, and WorkflowTemplates."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import indent

import pytest
import yaml

import workflows
from meta.importing import ImportRefused, Options, Weight, import_file
from tests.unit.importing.support import Made, make, sensor
from workflows.values import JsonObject

RUNS = "http://ml-pipeline.kubeflow.svc:8888/apis/v2beta1/runs"
NAMES = {"p-1": "training", "v-1": "3"}
PACKAGE = Path(workflows.__file__).parent / "catalog" / "hybrid-training" / "evaluate.yaml"


def constant(value: str, dest: str) -> str:
    return f"{{src: {{dependencyName: file, value: {json.dumps(value)}}}, dest: {dest}}}"


def post(*payload: str, more: str = "") -> str:
    listed = "".join(f"      - {one}\n" for one in payload)
    return (
        f"- template:\n    name: train\n    http:\n      url: {RUNS}\n{indent(more, ' ' * 6)}      payload:\n{listed}"
    )


REFERENCE = (
    constant("p-1", "pipeline_version_reference.pipeline_id"),
    constant("v-1", "pipelineVersionReference.pipelineVersionId"),
)
RATE = "{src: {dependencyName: file, dataKey: body.rate, useRawData: true}, dest: runtime_config.parameters.rate}"
NOTE = "{src: {dependencyName: file, dataKey: body.note, value: none}, dest: runtime_config.parameters.note}"


def test_a_post_to_kfp_becomes_a_step_with_the_pipelines_name(tmp_path: Path) -> None:
    payload = (REFERENCE[0], constant("v-1", "pipeline_version_reference.pipeline_version_id"), RATE, NOTE)
    more = "headers: {Authorization: x}\nmethod: POST\n"
    made = make(tmp_path, sensor(post(*payload, more=more)), options=Options(pipelines=NAMES))
    step = made.bundle.definition.steps["train"]
    assert step.kfp is not None
    assert (step.kfp.pipeline, step.kfp.version) == ("training", "3")
    assert made.inputs({"rate": 0.5}) == {"rate": {"value": 0.5}, "note": "none"}, "a raw value keeps its type"
    assert step.parameters == {"rate": "${{ inputs.rate.value }}", "note": "${{ inputs.note }}"}
    assert "the engine in meta.toml says how KFP is asked" in made.differs


def test_an_id_without_a_name_is_left_to_fill_in(tmp_path: Path) -> None:
    made = make(tmp_path, sensor(post(REFERENCE[0])))
    assert "by its id: p-1" in made.words(Weight.FILL_IN)


def test_a_pipeline_in_the_request_becomes_a_package(tmp_path: Path) -> None:
    spec = yaml.safe_load(PACKAGE.read_text())
    whole = {
        "display_name": "x",
        "pipeline_spec": spec,
        "runtime_config": {"parameters": {"dataset_uri": "a", "model_uri": "b"}},
    }
    made = make(tmp_path, sensor(post(constant(json.dumps(whole), '""'))))
    assert made.bundle.definition.steps["train"].file == "train.yaml"
    assert yaml.safe_load((made.folder / "train.yaml").read_text()) == spec


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ((RATE,), "names no pipeline_id"),
        (
            ("{src: {dependencyName: file, dataKey: body.p}, dest: pipeline_version_reference.pipeline_id}",),
            "the event chooses",
        ),
        (("{src: {dependencyName: file, dataKey: body}, dest: ''}",), "the whole request is taken from the event"),
    ],
)
def test_no_event_chooses_what_runs(tmp_path: Path, payload: tuple[str, ...], why: str) -> None:
    with pytest.raises(ImportRefused, match=why):
        make(tmp_path, sensor(post(*payload)))


# WorkflowTemplates

BODY = """\
{"display_name": "{{inputs.parameters.pipeline}}-{{workflow.name}}",
 "pipeline_version_reference": {"pipeline_id": "p-1", "pipeline_version_id": "v-1"},
 "runtime_config": {"parameters": {
   "source_uri": "s3://{{inputs.parameters.source-uri}}/x", "rate": {{inputs.parameters.rate}},
   "by": "{{workflow.creationTimestamp}}"}},
 "experiment_id": "e-1"}
"""


def trigger_template(kind: str, *, rate: str = "0.1", more: str = "") -> str:
    return (
        "apiVersion: argoproj.io/v1alpha1\nkind: WorkflowTemplate\nmetadata: {name: kfp-trigger}\nspec:\n"
        "  entrypoint: start\n  templates:\n  - name: start\n    inputs:\n      parameters:\n"
        f"      - {{name: pipeline, value: p}}\n      - {{name: source-uri}}\n      - {{name: rate, value: '{rate}'}}\n"
        f"{indent(kind, '    ')}{more}"
    )


def quoted(text: str) -> str:
    return indent(text, "  ")


HTTP = f"http:\n  url: {RUNS}\n  method: POST\n  body: |\n{indent(BODY, '    ')}"
CURL = f"""\
container:
  image: curl
  command: [sh, -c]
  args:
  - |
    set -e
    curl -sS -X POST -H 'Content-Type: application/json' {RUNS} \\
      -d '{indent(BODY.strip(), "    ").strip()}' | tee /tmp/run.json
"""
HEREDOC = f"""\
script:
  image: curl
  command: [bash]
  env: [{{name: RATE, value: '{{{{inputs.parameters.rate}}}}'}}]
  source: |
    ID=$(curl -s {RUNS} --json @- <<EOF | jq .run_id
{indent(BODY.replace("{{inputs.parameters.rate}}", "${RATE}"), "    ")}    EOF
    )
"""
PYTHON = """\
script:
  image: python
  command: [python3]
  env:
  - {name: KFP, value: "http://ml-pipeline.kubeflow.svc:8888"}
  - {name: SOURCE, value: "{{inputs.parameters.source-uri}}"}
  source: |
    import json, os, requests
    body = {
        "display_name": f"run-{os.environ['SOURCE']}",
        "pipeline_version_reference": {"pipeline_id": "p-1", "pipeline_version_id": "v-1"},
        "runtime_config": {"parameters": {"source_uri": f"s3://{os.environ['SOURCE']}/x"}},
    }
    answer = requests.post(f"{os.environ['KFP']}/apis/v2beta1/runs", json=body, timeout=10)
    print(answer.json()["run_id"])
"""
URLLIB = PYTHON.replace("requests.post(", "urllib.request.Request(").replace(
    "json=body, timeout=10", "data=json.dumps(body).encode(), method='POST'"
)


def imported(folder: Path, text: str, **more: object) -> Made:
    options = Options(subjects={"": "ml.requests"}, pipelines=NAMES, **more)  # pyright: ignore[reportArgumentType]
    return make(folder, text, source="", options=options)


@pytest.mark.parametrize("kind", [HTTP, CURL, HEREDOC], ids=["http", "curl", "heredoc"])
def test_json_with_tags_is_followed(tmp_path: Path, kind: str) -> None:
    made = imported(tmp_path, trigger_template(kind))
    step = made.bundle.definition.steps["start"]
    assert step.kfp is not None
    assert (step.kfp.pipeline, step.kfp.version) == ("training", "3")
    assert step.parameters["source_uri"] == "s3://${{ inputs.source_uri }}/x"
    assert made.trigger.subject == "ml.requests"
    assert made.inputs({"source-uri": "bucket"})["source_uri"] == "bucket"
    assert "{{workflow.creationTimestamp}}" in made.left_out
    assert "experiment_id: 'e-1'" in made.left_out
    assert "pipeline" not in made.bundle.definition.inputs, "only the run's own name had it"


def test_a_value_that_stands_bare_in_json_keeps_its_type(tmp_path: Path) -> None:
    made = imported(tmp_path, trigger_template(HTTP))
    assert made.bundle.definition.inputs["rate"].type.value == "number"
    assert made.inputs({"source-uri": "b"})["rate"] == 0.1
    assert made.inputs({"source-uri": "b", "rate": 0.5})["rate"] == 0.5
    assert made.parameters("start")["rate"] == "${{ inputs.rate }}"


@pytest.mark.parametrize("kind", [PYTHON, URLLIB], ids=["requests", "urllib"])
def test_python_is_read_and_never_run(tmp_path: Path, kind: str) -> None:
    made = imported(tmp_path, trigger_template(kind))
    assert made.inputs({"source-uri": "bucket"}) == {"source_uri": "bucket"}
    assert made.parameters("start") == {"source_uri": "s3://${{ inputs.source_uri }}/x"}


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (
            "script: {image: p, command: [python], source: 'import kfp; kfp.Client() # /apis/v2beta1/runs'}\n",
            "KFP's SDK",
        ),
        (f"script: {{image: p, command: [node], source: 'fetch(\"{RUNS}\")'}}\n", "program 'node' cannot be followed"),
        (PYTHON.replace("json=body", "json=make(body)"), "computes a part of the request"),
        (
            PYTHON.replace("{{inputs.parameters.source-uri}}", "x").replace("name: SOURCE", "name: OTHER"),
            "reads 'SOURCE'",
        ),
        (HEREDOC.replace("name: RATE", "name: OTHER"), "has $RATE, which the script makes up"),
        (HTTP.replace("method: POST", "method: GET"), "does GET"),
        (HTTP.replace('"display_name"', "display_name"), "is no JSON"),
        (f"container: {{image: c, command: [sh, -c], args: ['curl {RUNS}/x']}}\n", "no curl command"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(tmp_path: Path, kind: str, why: str) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(trigger_template(kind))
    with pytest.raises(ImportRefused, match="in a way that can be followed") as refused:
        import_file(file, Options(subjects={"": "a.b"}))
    assert why in str(refused.value)


POLL = f"""\
  - name: poll
    script: {{image: c, command: [sh], source: "curl {RUNS}/$ID"}}
  - name: tell
    container: {{image: c, command: [echo]}}
"""
DAG = """\
  - name: main
    dag:
      tasks:
      - name: first
        template: start
        arguments: {parameters: [{name: source-uri, value: "{{workflow.parameters.bucket}}-1"}]}
      - name: second
        template: start
        depends: first.Succeeded && wait
        arguments: {parameters: [{name: source-uri, value: fixed}]}
      - {name: wait, template: poll, dependencies: [first]}
      - {name: say, template: tell}
"""


def test_tasks_that_start_runs_are_steps_and_the_others_are_said(tmp_path: Path) -> None:
    text = trigger_template(HTTP, more=POLL + DAG).replace(
        "entrypoint: start", "entrypoint: main\n  arguments: {parameters: [{name: bucket, value: lake}]}"
    )
    made = imported(tmp_path, text)
    assert list(made.bundle.definition.steps) == ["first", "second"]
    assert made.bundle.definition.steps["second"].needs == ["first"]
    assert made.parameters("second")["source_uri"] == "s3://${{ 'fixed' }}/x"
    assert made.parameters("first")["source_uri"] == "s3://${{ string(inputs.bucket) + '-1' }}/x"
    assert made.inputs({}) == {"bucket": "lake", "rate": 0.1}
    assert "'wait' is left out" in made.left_out
    assert "'say' starts no KFP run" in made.left_out


BY_PARAMETER = HTTP.replace('"p-1"', '"{{inputs.parameters.pipeline}}"')


def test_a_pipeline_that_a_parameter_names_is_its_default_or_one_that_is_given(tmp_path: Path) -> None:
    made = imported(tmp_path / "default", trigger_template(BY_PARAMETER))
    assert made.bundle.definition.steps["start"].kfp.pipeline == "p"  # pyright: ignore[reportOptionalMemberAccess]
    assert "here it is its default, for good" in made.differs
    fixed = imported(tmp_path / "given", trigger_template(BY_PARAMETER), parameters={"pipeline": "p-1"})
    assert fixed.bundle.definition.steps["start"].kfp.pipeline == "training"  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(ImportRefused, match="--parameter pipeline=ID"):
        imported(tmp_path / "none", trigger_template(BY_PARAMETER).replace(", value: p}", "}"))


def test_without_a_subject_there_is_one_to_fill_in(tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(trigger_template(HTTP))
    made = import_file(file, Options(pipelines=NAMES))
    assert "on no subject" in str(made.report.of(Weight.FILL_IN)[0])
    assert [problem.path for problem in made.problems] == ["triggers[0].nats.subject"]
    document: JsonObject = made.drafts[0].as_object()
    assert document["kind"] == "MetaWorkflow"
