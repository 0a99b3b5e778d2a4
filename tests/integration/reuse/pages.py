"""The chains of docs/retrying-a-run.md and docs/step-cache.md, and manifests for them."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pages import snippets

RETRYING = "docs/retrying-a-run.md"
CACHE = "docs/step-cache.md"
_MANIFEST = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: {name}-}}
spec:
  entrypoint: main
  arguments: {arguments}
  templates:
    - name: main
      inputs: {inputs}
      outputs: {outputs}
      container: {{image: "busybox:1.36", command: [echo]}}
"""
_ARGUMENTS = {
    "prepare": "{}",
    "train": "{parameters: [{name: rate}], artifacts: [{name: data}]}",
    "deploy": "{parameters: [{name: accuracy}], artifacts: [{name: model}]}",
}
_OUTPUTS = {
    "prepare": "{artifacts: [{name: data, path: /data}]}",
    "train": "{artifacts: [{name: model, path: /m}], parameters: [{name: accuracy, valueFrom: {path: /a}}]}",
    "deploy": "{}",
}


def chain_of(page: str) -> str:
    """The definition on a page."""
    [block] = snippets("yaml", pages=(page,))
    return block.text


def write(folder: Path, text: str, name: str = "chain.yaml") -> Path:
    """A definition with the manifests that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    for step, arguments in _ARGUMENTS.items():
        read = {"train": "data", "deploy": "model"}.get(step)
        inputs = "{artifacts: [{name: " + read + ", path: /in}]}" if read else "{}"
        manifest = _MANIFEST.format(name=step, arguments=arguments, inputs=inputs, outputs=_OUTPUTS[step])
        (folder / f"{step}.yaml").write_text(manifest)
    file = folder / name
    file.write_text(text)
    return file
