"""The model card of an exported adapter: purpose, use, training and measured results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypernoise_pl.report.tables import markdown, table, transposed
from hypernoise_pl.report.verdict import verdict

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_ATTACH = """    from hypernoise_pl import attach

    attach(pipe, {name!r})  # pipe: the generator's own diffusers pipeline
    image = pipe({call}).images[0]
"""
_USE = {
    "own": _ATTACH,
    "peft": """    from peft import PeftModel

    network = pipe.transformer  # or pipe.unet
    hypernetwork = PeftModel.from_pretrained(copy.deepcopy(network), {name!r})
    refined = noise + hypernetwork(noise, ...)  # with the arguments of the generator's network at its first timestep

The network needs no patch: the last layer's LoRA subtracts that layer's own output. Use float32: in half precision the
difference has an error in proportion to the subtracted output.
""",
    "reference": _ATTACH + "\nor with the reference implementation's own script, which patches the last layer.\n",
    "generator": """    from peft import PeftModel

    pipe.transformer = PeftModel.from_pretrained(pipe.transformer, {name!r})  # or pipe.unet
""",
}
_DESCRIPTIONS = {
    "noise": "A noise hypernetwork for {base}: a LoRA of the generator's own network that predicts a residual for its "
    "input noise, at the cost of one network evaluation an image.\n",
    "generator": "A LoRA for {base} itself, trained with the same rewards as a noise hypernetwork, for comparison.\n",
}


def model_card(
    description: Mapping[str, Any],
    config: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
    picture: str | None,
    name: str,
    layout: str,
    call: Mapping[str, Any],
) -> str:
    """Write the model card in the hub's format.

    Args:
        description: ``hypernoise.json`` of the adapter.
        config: ``config.yaml`` of its run.
        summary: ``summary.json`` of its run; None without measurements.
        picture: file name of a grid of samples, beside the card.
        name: name of the adapter.
        layout: ``own``, ``peft`` or ``reference``.
        call: arguments of the pipeline's call besides the prompt, as in training.
    """
    model, base = config["model"]["init_args"], str(description["generator"]["name"])
    called = ", ".join(['"a prompt"', *(f"{key}={value!r}" for key, value in call.items())])
    use = _USE[layout if description["adapts"] == "noise" else "generator"].format(name=name, call=called)
    parts = [
        _head(base),
        f"# {name}\n\n{_DESCRIPTIONS[description['adapts']].format(base=base)}",
        f"## Use\n\n{use}",
        "## Training\n\n" + "\n".join(f"- {line}" for line in _training(description, config, model)) + "\n",
        "## Measured\n\n" + ("These weights were not measured.\n" if summary is None else _table(summary)),
    ]
    if picture is not None:
        rows = "Base above, trained below, from the same noise"
        parts.append(f"![{rows}]({picture})\n\n{rows}.\n")
    return "\n".join(parts)


def public_name(model: str) -> str:
    """The hub id unchanged; for a local folder only its name, since its path is private to a machine."""
    return model if _on_hub(model) else Path(model).name


def _on_hub(model: str) -> bool:
    return HUB_ID.fullmatch(model.partition("@")[0]) is not None and not Path(model).exists()


def _head(base: str) -> str:
    lines = ["library_name: peft", "pipeline_tag: text-to-image", "tags: [hypernoise_pl, noise-hypernetwork, lora]"]
    if _on_hub(base):
        lines.append(f"base_model: {base.partition('@')[0]}")
    return "\n".join(["---", *lines, "---", ""])


def _training(description: Mapping[str, Any], config: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    weights, penalty = model["reward_weights"], description.get("penalty") or {}
    trainer, data = config.get("trainer", {}), config.get("data", {})
    rewards = [
        f"{name} ({_short(reward['class_path'])}, weight {weights.get(name, 0):g})"
        for name, reward in model["rewards"].items()
    ]
    options = {key: value for key, value in (data.get("init_args") or {}).items() if value is not None}
    shown = ", ".join(
        f"{key} {public_name(value) if isinstance(value, str) else value}" for key, value in options.items()
    )
    length = (
        f"{trainer['max_steps']} steps"
        if (trainer.get("max_steps") or -1) > 0
        else f"{trainer.get('max_epochs')} epochs"
    )
    return [
        f"generator: {description['generator']['name']} ({_short(model['generator']['class_path'])}), noise "
        f"{' x '.join(map(str, description['noise_shape']))}",
        f"data: {_short(data.get('class_path', 'unknown'))}" + (f" ({shown})" if shown else ""),
        f"rewards: {', '.join(rewards)}",
        f"penalty: {', '.join(f'{key} {value}' for key, value in penalty.items()) or 'not recorded'}",
        f"LoRA: rank {description['rank']}, alpha {description['alpha']:g}, layers {_layers(description['targets'])}",
        f"length: {length}",
    ]


def _table(summary: Mapping[str, Any]) -> str:
    """A Markdown table with a column per method, and the verdict."""
    counts = f"{summary['prompts']} prompts, {summary['seeds']} noises each."
    means = "Means are over tags; a tie counts one half of a win."
    credit = f" {summary['judged_by']}" if summary["judged_by"] else ""
    return f"{markdown(transposed(table(summary)))}\n{counts} {means} {verdict(summary)}{credit}\n"


def _short(class_path: str) -> str:
    return class_path.rpartition(".")[2]


def _layers(targets: Any) -> str:
    return str(targets) if isinstance(targets, str) else f"{len(targets)} named"
