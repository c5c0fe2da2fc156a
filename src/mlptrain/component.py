"""How does one class become a choice in the spec, a documentation row and a test case?

A *family* is an abstract subclass of `Component` (`Activation`, `Loss`, ...). A *variant* is a subclass of a family
that gives its `kind` a value. `Annotated[Activation, OneOf()]` is then the choice among all variants of the family,
collected from the classes themselves: there is no registry to keep in step.

Files with components do not postpone annotations (`from __future__ import annotations`): Pydantic would compile each
of them from text again, for every class that inherits it, at every start. What should not be imported for an annotation
alone, such as `numpy.random`, is quoted there.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

Conflict = tuple[str, str]
"""The path of a setting, relative to the model that is checked, and a message with the remedy."""
FAMILY = "mlptrain_family"
"""The key of the family of a choice in the metadata of its Pydantic schema."""
FamilyT = TypeVar("FamilyT", bound="Component")


class Frozen(BaseModel):
    """An immutable record of settings: unknown keys are errors, and values are never converted silently."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=False,
        defer_build=True,
    )
    formula: ClassVar[tuple[str, ...]] = ()
    """Its formulas in LaTeX, each displayed on its own, in the notation of docs/mathematics.md."""
    renamed: ClassVar[dict[str, str]] = {}
    """Renamed keys: the new name by the old name."""


def mistake(message: str, kind: str = "value", **context: str) -> PydanticCustomError:
    """An error with the exact text of `message`: Pydantic would interpret braces in it as fields."""
    return PydanticCustomError(kind, "{message}", {"message": message, **context})


def refuse(conflicts: Iterable[Conflict]) -> None:
    """Raise one Pydantic error with all `conflicts`, each at its own path, if there are any."""
    errors = [
        InitErrorDetails(
            type=mistake(message, "conflict"),
            loc=tuple(path.split(".")) if path else (),
            input=None,
        )
        for path, message in conflicts
    ]
    if errors:
        raise ValidationError.from_exception_data("conflict", errors)


class Component(Frozen):
    """One variant of a family: its fields are its hyperparameters, its methods are its mathematics."""

    aliases: ClassVar[tuple[str, ...]] = ()
    """Other common names of this variant."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    """Settings that the tests, the gradient check and the documentation cover."""

    @classmethod
    def name(cls) -> str:
        """The word that selects this variant in a spec."""
        return str(cls.model_fields["kind"].default)

    def label(self) -> str:
        """The variant and the settings that differ from its defaults, for tables and test ids."""
        changed = {key: getattr(self, key) for key in self.model_dump(exclude_defaults=True, exclude={"kind"})}
        settings = ", ".join(
            f"{key}={value.label() if isinstance(value, Component) else value}" for key, value in changed.items()
        )
        return f"{self.name()}({settings})" if settings else self.name()


def variants(family: type[FamilyT]) -> list[type[FamilyT]]:
    """Every variant of `family`, in the order of definition."""
    found: list[type[FamilyT]] = []
    for subclass in family.__subclasses__():
        if "kind" in subclass.model_fields:
            found.append(subclass)
        found.extend(variants(subclass))
    return found


def example_instances(family: type[FamilyT]) -> list[FamilyT]:
    """Every variant of `family` with each of its `examples`."""
    return [variant(**settings) for variant in variants(family) for settings in variant.examples]


def names(found: Iterable[type[Component]]) -> dict[str, str]:
    """The kind of each variant by its name and by its aliases."""
    return {word: variant.name() for variant in found for word in (variant.name(), *variant.aliases)}


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` most likely means, or None when nothing is close."""
    import difflib  # only for mistakes

    lowered = {choice.strip().lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.strip().lower(), lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def did_you_mean(word: str, choices: Iterable[str], otherwise: str = "") -> str:
    """The question whether `word` means one of `choices`, before `otherwise`; only the latter if nothing is close."""
    guess = nearest(word, choices)
    return f"did you mean '{guess}'? {otherwise}".rstrip() if guess else otherwise


@dataclass(frozen=True)
class OneOf:
    """Marks a field as a choice among the variants of its family.

    A bare name selects the variant with its defaults (`relu` for `{kind: relu}`). A mapping without `kind` has the
    `default` kind, if there is one.
    """

    default: str | None = None

    def __get_pydantic_core_schema__(self, source: type[Component], handler: GetCoreSchemaHandler) -> CoreSchema:
        def choose(value: Any, info: ValidationInfo) -> Component:
            if isinstance(value, source):
                return value
            classes = {
                variant.name(): variant for variant in variants(source)
            }  # looked up here, since a plugin may have added some
            words = names(classes.values())
            if isinstance(value, str):
                value = {"kind": value}
            if not isinstance(value, dict):
                raise mistake(f"must be one of these, by name or as a mapping with 'kind': {listed(words)}")
            kind = value.get("kind", self.default)
            if kind is None:
                raise mistake(f"needs a 'kind', one of: {listed(words)}")
            return classes[resolve(kind, words)].model_validate(
                {**value, "kind": resolve(kind, words)}, context=info.context
            )

        return core_schema.with_info_plain_validator_function(choose, metadata={FAMILY: source})

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A bare name, or the mapping of a variant, which needs its `kind` unless it is the default."""
        inner: Any = schema
        while FAMILY not in inner.get("metadata", {}):
            inner = inner["schema"]  # within other validators of the field
        found, mappings = variants(inner["metadata"][FAMILY]), []
        for variant in found:
            variant.model_rebuild()  # its schema is built when it is first used
            mappings.append(handler(variant.__pydantic_core_schema__))
            described = handler.resolve_ref_schema(mappings[-1])
            kind = {"enum": [variant.name(), *variant.aliases], "description": "Which variant this is."}
            described["properties"] = described["properties"] | {"kind": kind}
            needed = [name for name in described.get("required", ()) if name != "kind"]
            described["required"] = needed if variant.name() == self.default else ["kind", *needed]
        return {"anyOf": [{"enum": list(names(found))}, *mappings]}


@dataclass(frozen=True)
class ShortForm:
    """Says in the JSON Schema of a field that a shorter form is accepted too."""

    schema: JsonSchemaValue

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [self.schema, handler(schema)]}


def or_word(low: int, high: int | None, *words: str | None) -> JsonSchemaValue:
    """The JSON Schema of a whole number from `low` to `high`, or one of a few words."""
    number = {"type": "integer", "minimum": low} | ({} if high is None else {"maximum": high})
    return {"anyOf": [number, {"enum": list(words)}]}


def resolve(word: Any, words: dict[str, str]) -> str:
    """The kind that `word` names, aliases included; a Pydantic error that lists the choices otherwise."""
    if isinstance(word, str) and word in words:
        return words[word]
    message = f"unknown kind '{word}'; {did_you_mean(str(word), words, f'the kinds are: {listed(words)}')}"
    raise mistake(message, "kind_unknown", word=str(word))


def listed(words: dict[str, str]) -> str:
    """The names of a family for a message, aliases in parentheses: 'silu (swish)'."""
    names = dict.fromkeys(words.values())
    extra = {name: [word for word, target in words.items() if target == name and word != name] for name in names}
    return ", ".join(f"{name} ({', '.join(extra[name])})" if extra[name] else name for name in names)


def resolve_path(value: str, info: ValidationInfo) -> str:
    """The absolute path for one that is relative to the folder of the spec."""
    if "://" in value or value.startswith("file:"):
        raise mistake(f"'{value}' is a URL; only files on this machine are read: download it first")
    folder = (info.context or {}).get("folder", Path.cwd())
    if folder is None:  # in a file that a run has written, which says what its tables are called, not where they are
        return value
    try:
        return os.path.normpath(Path(folder) / Path(value).expanduser())
    except RuntimeError as error:
        raise mistake(f"unknown user in '{value}'") from error


ResolvedPath = Annotated[str, Field(min_length=1), AfterValidator(resolve_path)]
"""A path in a spec: relative to the folder of the spec in the file, absolute once it is read; see `resolve_path`."""
