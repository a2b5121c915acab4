"""The text form of one rule, for reports: what it decides, as it stands in a text policy."""

from __future__ import annotations

from stockade._proto import policy_pb2


def rule_text(rule: policy_pb2.Rule) -> str:
    """Write what a rule decides as one line of text protobuf, as it stands in a text policy after `rules `."""
    parts = [f"syscall: {_quoted(name)}" for name in rule.syscall]
    parts += [f"when {{ {_condition_text(condition)} }}" for condition in rule.when]
    parts.append(f"action: {policy_pb2.Rule.Action.Name(rule.action)}")
    parts += [f"{name}: {_quoted(value)}" for name, value in (("errno", rule.errno), ("hook", rule.hook)) if value]
    return " ".join(parts + ["overridable: true"] * rule.overridable)


def _condition_text(condition: policy_pb2.Condition) -> str:
    test, argument = condition.WhichOneof("test"), f"argument: {condition.argument}"
    if test is None:
        return argument
    if test == "one_of":
        return " ".join([argument, "one_of {", *(f"value: {_quoted(value)}" for value in condition.one_of.value), "}"])
    if test == "masked":
        mask, value = _quoted(condition.masked.mask), _quoted(condition.masked.value)
        return f"{argument} masked {{ mask: {mask} value: {value} }}"
    return f"{argument} {test}: {_quoted(getattr(condition, test))}"


def _quoted(text: str) -> str:
    body = "".join(f"\\{ord(c):03o}" if c in '"\\' or not " " <= c <= "~" else c for c in text)
    return f'"{body}"'
