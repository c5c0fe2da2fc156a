"""How does a component say what it computes, and what is said of one that does not?

A rule is a function for one class of components, found by `Rules`; a component of a plugin may bring a method
`exported` with the same arguments instead, and `exported_inverse` for the inverse of a link or of a scaler. A subclass
does not inherit the rule of its base, which it may contradict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mlptrain.component import Component, variants
from mlptrain.errors import UsageError

Rule = TypeVar("Rule", bound=Callable[..., Any])


class Rules:
    """The rules of one family, by the class of the component."""

    def __init__(self, family: type[Component], arguments: str, method: str = "exported") -> None:
        self.family = family
        self.method = method
        """Of a plugin, instead of a rule."""
        self.arguments = arguments
        """Of the method of a plugin, for messages."""
        self._by_class: dict[type[Component], Callable[..., Any]] = {}

    def of(self, *classes: type[Component]) -> Callable[[Rule], Rule]:
        """Declare the decorated function as the rule of these classes."""

        def declare(rule: Rule) -> Rule:
            self._by_class.update(dict.fromkeys(classes, rule))
            return rule

        return declare

    def knows(self, kind: type[Component]) -> bool:
        """Whether components of exactly this class have a rule."""
        return kind in self._by_class or self.method in vars(kind)

    def apply(self, component: Component, *arguments: Any) -> Any:
        """What the rule of `component` gives; a `UsageError` that names a component without one."""
        kind = type(component)
        if kind in self._by_class:
            return self._by_class[kind](component, *arguments)
        if self.method in vars(kind):
            return getattr(component, self.method)(*arguments)
        name = self.family.__name__.lower()
        raise UsageError(
            f"{name} '{component.name()}' cannot be exported: it does not say what it computes. Give its class a "
            f"method `{self.method}(self, {self.arguments})` on the operations of mlptrain.export.graph, or use "
            "mlptrain predict"
        )

    def support(self) -> list[tuple[str, bool]]:
        """Each kind of the family, and whether it can be exported."""
        return [(kind.name(), self.knows(kind)) for kind in variants(self.family)]
