"""The table of commands: purpose, usage and examples of each, and the help that all share. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

PROGRAM = "python -m hypernoise_pl"
STATUS = """exit status:
  0    the command did what it says
  1    something went wrong after it had begun: one line on standard error
  2    what is asked for cannot be done: a flag, a file, a configuration's key
  130  stopped by Ctrl+C      143  stopped by SIGTERM; both say how to continue
"""
KEYS = """Files and flags are merged by the same rules, later over earlier: mappings
are merged, lists are replaced, null takes a reward out, and where a class
takes another's place the arguments of the old one stay that the new one
takes by the same name and type.

  --KEY=VALUE         any value of the configuration, for example
    --model.reward_weights.clip=0.5    one weight
    --model.adapter.lora.rank=64       one argument
    --model.adapter=GeneratorLora      another class: LoRA on the generator
    --model.optimizer=SGD --model.optimizer.momentum=0.9
                                       another class and what it takes
    --judge=null                       no judge: rewards alone are measured
    --trainer.callbacks.ImageGrid.columns=4
                                       one of a list, by class or by place (0,
                                       1, ...); +=NAME appends
    --trainer.max_steps=200            the Lightning Trainer's
    --data.batch_size='${trainer.log_every_n_steps}'   another value
"""


@dataclass(frozen=True)
class Command:
    """A command as its help shows it.

    Args:
        does: one line for the list of commands.
        description: paragraph that says what it does and writes.
        usage: required arguments, as the usage line shows them.
        examples: command lines that work, without the program name.
    """

    does: str
    description: str = ""
    usage: str = "[options]"
    examples: tuple[str, ...] = ()


COMMANDS = {
    "fit": Command(
        "train a noise hypernetwork, then test it against the base generator and a search",
        """Train a hypernetwork; at the end test base, hypernetwork and a reference search
on the same prompts and noises, print the table, and write summary.json, the
adapter, a picture and a TensorBoard log into the run folder. While it runs,
live.html in that folder shows the run in a browser.""",
        examples=(
            "fit",
            "fit --config shapes_long",
            "fit --config shapes_long --dry-run",
            "fit --model.objective.reward_scale=20 --seed_everything=1",
            "fit --ckpt_path last --output runs/fit/20261123-101500",
        ),
    ),
    "validate": Command("measure an adapter on the validation prompts", examples=("validate",)),
    "test": Command(
        "measure an adapter on the test prompts", examples=("test", "test --adapter runs/fit/TIME/adapter --json")
    ),
    "predict": Command(
        "write images for prompts, base and refined",
        """Write each prompt's images, base and refined from the same noise, a grid of them,
and predictions.jsonl. Stopped at any moment, the same command again goes on where
it was.""",
        "(--prompt TEXT ... | --prompts FILE) [options]",
        ('predict --prompt "a red circle left of a blue star" --seeds 0,1,2,3',),
    ),
    "compare": Command(
        "search methods and what was trained side by side, at what cost: one table, one report",
        """Run test-time searches, the base generator and what was trained on the same
prompts and noises; print the table, and write report.html, report.md,
summary.json, results.parquet and every image into the run folder; report.html
grows from the first unit of work on. What runs is the list compare.methods of
conf/compare.yaml. Stopped at any moment, the same
command again goes on where it was. A run folder holds the results of one
configuration: with other settings the command needs another --output, or none.""",
        examples=(
            "compare",
            "compare --compare.seeds=1 --compare.prompts=24",
            "compare --config my_methods.yaml --adapter runs/fit/TIME/adapter --output runs/mine",
        ),
    ),
    "sweep": Command(
        "many fits: what is varied, on Optuna, pruned, by several workers, with a report",
        """Run the fits that a file defines (conf/sweeps, or your own): base configuration,
what is varied, objective, budget. Every trial is a fit of its own in its own
folder. Stopped or killed at any moment, the same command again goes on, each
trial from its own checkpoint; in another terminal or on another machine that sees
the same folder it is one more worker. report.html and summary.json are rewritten
after each trial. --KEY=VALUE sets a value of the configuration for every trial
alike, as fit takes it.""",
        "NAME|FILE [options]",
        (
            "sweep shapes_recipe --dry-run",
            "sweep shapes_recipe --workers 2",
            "sweep my_sweep.yaml --storage postgresql://me@host/sweeps --output /shared/mine",
        ),
    ),
    "cache-prompts": Command(
        "encode a run's prompts beforehand, so that text encoders stay off the device while it trains",
        """Encode the training, validation and test prompts of a run into DIR, in files that
are written whole or not at all. Every run with the same --model.prompt_cache then
reads them there. Stopped at any moment, the same command again goes on; several
processes may fill one folder at once. Rewards are not loaded.""",
        "--model.prompt_cache=DIR [options]",
        (
            "cache-prompts --config sana_sprint --model.prompt_cache=cache",
            "fit --config sana_sprint --model.prompt_cache=cache",
        ),
    ),
    "score": Command(
        "a benchmark's figures of images that any tool made",
        """Score images by a benchmark (conf/benchmarks, or a file of your own). IMAGES is a
folder in the layout of the benchmark's original tools, a run folder of predict or
compare, or a JSONL file with prompt and image_path. Writes the benchmark's own
result files, summary.json and score.html, the images with verdict and reason, the
worst first, and prints each tag's score with a 95 % interval over prompts. What
cannot be scored is named and left out of the figures. Stopped at any moment, the
same command again goes on where it was. --KEY=VALUE sets a value of the
benchmark's configuration.""",
        "BENCHMARK IMAGES [options]",
        (
            "score shapes runs/predict/TIME",
            "score geneval images --metadata evaluation_metadata.jsonl",
            "score geneval --detections detections.jsonl --metadata evaluation_metadata.jsonl",
        ),
    ),
    "export": Command(
        "an adapter with a model card, for others: a folder, and the hub",
        """Write an adapter folder with a model card (generator, data, rewards, weights,
penalty, the measured table, samples) that is ready for the hub, and upload it if
that is asked for.""",
        examples=(
            "export",
            "export --adapter runs/fit/TIME/adapter --format peft --push me/my-hypernetwork",
        ),
    ),
    "configs": Command(
        "the configurations that come with the package: list, show, copy",
        """List the configurations that --config takes by a short name, print one, or copy
one to begin one's own with.""",
        "[list | show NAME | copy NAME [FILE]]",
        ("configs", "configs show shapes_long", "configs copy shapes_long mine.yaml"),
    ),
}
CONFIGURED = [name for name in COMMANDS if name not in ("export", "configs", "score", "sweep")]  # merge conf/ files
