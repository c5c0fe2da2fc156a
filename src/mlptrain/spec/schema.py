"""What is the JSON Schema of an experiment file, for editors and other programs?

It is made from the classes that check a spec, with every short form: a bare name for a component, a number for a layer,
one name for a list of targets. What only the data or two settings together can tell stays with the loader.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import JsonSchemaValue

from mlptrain.data.encoders import encoder_kinds
from mlptrain.metrics import decision_metrics
from mlptrain.spec.experiment import Experiment
from mlptrain.tasks import task_kinds

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def spec_schema() -> JsonSchemaValue:
    """The JSON Schema of an experiment file, with the components of loaded plugins."""
    schema = Experiment.model_json_schema()
    definitions = schema["$defs"]
    data, settings = definitions["Data"], schema["properties"]
    data["anyOf"] = [{"required": ["target"]}, {"required": ["target_path"]}]
    data["properties"]["encoders"]["additionalProperties"] = {"enum": list(encoder_kinds())}
    settings["task"] |= {"anyOf": [{"enum": list(task_kinds())}, {"type": "null"}]}
    definitions["Decision"]["properties"]["metric"] |= {"anyOf": [{"enum": list(decision_metrics())}, {"type": "null"}]}
    settings["preset"]["default"] = Experiment.model_fields["preset"].get_default(call_default_factory=True).name()
    defined: dict[str, Any] = {}
    body = {name: tidy(value, defined) for name, value in schema.items() if name not in ("title", "$defs")}
    for name, definition in definitions.items():
        defined[name] = tidy({key: value for key, value in definition.items() if key != "title"}, defined)
    return {"$schema": DIALECT, "title": "An experiment of mlptrain", **body, "$defs": defined}


def tidy(value: Any, defined: dict[str, Any]) -> Any:
    """A schema without the titles of fields, which repeat their names; the mapping of a class is `defined` once."""
    if isinstance(value, list):
        return [tidy(item, defined) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("title")
    found = {key: tidy(inner, defined) for key, inner in value.items() if key != "title" or isinstance(inner, dict)}
    if value.get("type") != "object" or not isinstance(name, str) or "properties" not in value:
        return found
    defined[name] = found | {"description": summary(found.get("description", ""))}
    return {"$ref": f"#/$defs/{name}"}


def summary(text: str) -> str:
    """The first paragraph of a docstring."""
    return text.partition("\n\n")[0].replace("\n", " ")
