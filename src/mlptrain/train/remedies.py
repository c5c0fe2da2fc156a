"""Settings that help, as lines of YAML."""

from __future__ import annotations


def setting(section: str, **values: float | str) -> str:
    """A setting as a line of YAML: `penalty: {l2: 1.0e-04}`."""
    return f"{section}: {{{', '.join(f'{key}: {yaml_text(value)}' for key, value in values.items())}}}"


def yaml_text(value: float | str) -> str:
    """A number as YAML 1.1 reads it, with three digits that count; text as it is."""
    text = value if isinstance(value, str) else f"{value:.3g}"
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text


def after_divergence(learning_rate: float, clipped: bool) -> str:
    """What to try when training diverged with this rate, with or without clipping."""
    slower = f"Try {setting('optimizer', learning_rate=learning_rate / 10)}"
    return slower if clipped else f"{slower}, {setting('training', clip_norm=1.0)}"
