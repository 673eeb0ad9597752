"""The command table. Standard library only: ``--help`` answers at once, and heavy imports wait for their command."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from hypernoise_pl.signals import Stopped, output_may_close, stoppable

COMMANDS = {
    "fit": "train a noise hypernetwork, then test it against the base generator and a search",
    "validate": "measure an adapter on the validation prompts",
    "test": "measure an adapter on the test prompts",
    "predict": "write images for prompts, base and refined",
    "compare": "search methods and what was trained side by side, at what cost: one table, one report",
    "cache-prompts": "encode a run's prompts beforehand, so that text encoders stay off the device while it trains",
    "export": "an adapter with a model card, for others: a folder, and the hub",
}
OVERVIEW = """usage: python -m hypernoise_pl COMMAND [options]

Noise hypernetworks: what searching a one-step generator's noise finds, in one more network evaluation.

commands:
{commands}

Start with:   python -m hypernoise_pl fit          (shapes world: no GPU, no downloads, minutes on a CPU)
Help:         python -m hypernoise_pl COMMAND --help
"""
SHARED = """
  --config FILE      a YAML file, or its short name in conf/ (shapes_long); may be given several times: later files
                     are merged over earlier ones, all over conf/fit.yaml
  --KEY=VALUE        any value of the configuration, for example
                       --model.reward_weights.clip=0.5      one weight
                       --model.lora.rank=64                 one argument
                       --model=FineTuneModule               another class: LoRA on the generator itself
                       --model.optimizer=SGD --model.optimizer.momentum=0.9    another class and what it takes
                       --judge=null                         no judge: the rewards alone are measured
                       --trainer.callbacks.1.images=4       the second of a list; +=NAME appends to one
                       --trainer.max_steps=200              the Lightning Trainer's
                       --data.batch_size='${trainer.log_every_n_steps}'   another value
                     Files and flags are merged by the same rules: mappings are merged, lists are replaced, null takes
                     a reward out, and where a class takes another's place the arguments of the old one stay that the
                     new one takes by the same name and type
  --output DIR       run folder (default: runs/COMMAND/<time>)
  --print_config     print the whole configuration and stop; it is a file for --config, and so is a run's config.yaml
  --verbose          tracebacks instead of one-line errors
  --help-class NAME  what a class is and its options: a generator, reward, search, data set (SDTurbo, HPSv2, ReNO)
  --help-all         every option of every class, generated (takes some seconds)
"""
PAGES = {
    "fit": """usage: python -m hypernoise_pl fit [options]

Train a hypernetwork; at the end test base, hypernetwork and a reference search on the same prompts and noises,
print the table, and write summary.json, the adapter, a picture and a TensorBoard log into the run folder.

options:"""
    + SHARED
    + """  --ckpt_path last   continue the newest run, or that in --output, from its checkpoint of most steps, or a file
                     of one. Ctrl+C and SIGTERM save one. Without this, an --output that holds a run is refused

examples:
  python -m hypernoise_pl fit
  python -m hypernoise_pl fit --config shapes_long
  python -m hypernoise_pl fit --model.objective.reward_scale=20 --seed_everything=1
  python -m hypernoise_pl fit --ckpt_path last --output runs/fit/20261123-101500
""",
    "predict": """usage: python -m hypernoise_pl predict (--prompt TEXT ... | --prompts FILE) [options]

Write each prompt's images, base and refined from the same noise, a grid of them, and predictions.jsonl. Stopped at any
moment, the same command again goes on where it was.

options:
  --prompt TEXT      a prompt; may be given several times
  --prompts FILE     .txt with a prompt a line, .csv, .tsv or .parquet with a column "prompt", .jsonl, .json or .yaml
  --seeds 0,1,2      one image each (default 0)
  --steps N          network evaluations per image (default: the model's)
  --strength S       share of the residual to add (default 1)
  --adapter DIR      an adapter folder (default: that of the newest fit); generator, rank and kind are taken from it,
                     rewards, prompts and judge from the run folder that it lies in"""
    + SHARED
    + """
examples:
  python -m hypernoise_pl predict --prompt "a red circle left of a blue star" --seeds 0,1,2,3
""",
    "compare": """usage: python -m hypernoise_pl compare [options]

Run test-time searches, the base generator and what was trained on the same prompts and noises; print the table, and
write report.html, report.md, summary.json, results.parquet and every image into the run folder. What runs is the list
compare.methods of conf/compare.yaml. Stopped at any moment, the same command again goes on where it was.
A run folder holds the results of one configuration: with other settings the command needs another --output, or none.

options:
  --adapter DIR      an adapter folder (default: that of the newest fit); generator, rank and kind are taken from it,
                     rewards, prompts and judge from the run folder that it lies in
  --shard I/N        this process's part of N (0/2 and 1/2 in two terminals, with one --output); the last one that
                     finishes writes the report. Under torchrun every process takes its own part and GPU
  --budget-seconds S every search gets S seconds an image instead of its budgets"""
    + SHARED
    + """
examples:
  python -m hypernoise_pl compare
  python -m hypernoise_pl compare --compare.seeds=1 --compare.prompts=24
  python -m hypernoise_pl compare --config my_methods.yaml --adapter runs/fit/TIME/adapter --output runs/mine
""",
    "export": """usage: python -m hypernoise_pl export [options]

Write an adapter folder with a model card (generator, data, rewards, weights, penalty, the measured table, samples) that
is ready for the hub, and upload it if that is asked for.

options:
  --adapter DIR      an adapter folder (default: that of the newest fit)
  --run DIR          the run folder of its fit (default: the folder that the adapter lies in)
  --output DIR       to write (default: export-FORMAT in the run folder)
  --format FORMAT    own: for attach, predict, test and compare (default)
                     peft: an ordinary LoRA; a plain peft.PeftModel.from_pretrained makes the hypernetwork of it
                     reference: PEFT's files as the reference implementation of noise hypernetworks reads them
  --push OWNER/NAME  upload to the hub; needs a token (hf auth login, or the variable HF_TOKEN)
  --private          a repository that --push makes is private

examples:
  python -m hypernoise_pl export
  python -m hypernoise_pl export --adapter runs/fit/TIME/adapter --format peft --push me/my-hypernetwork
""",
}
PAGES["cache-prompts"] = (
    """usage: python -m hypernoise_pl cache-prompts --model.prompt_cache=DIR [options]

Encode the training, validation and test prompts of a run into DIR, in files that are written whole or not at all.
Every run with the same --model.prompt_cache then reads them there. Stopped at any moment, the same command again goes
on; several processes may fill one folder at once. Rewards are not loaded.

options:"""
    + SHARED
    + """
examples:
  python -m hypernoise_pl cache-prompts --config sana_sprint --model.prompt_cache=cache
  python -m hypernoise_pl fit           --config sana_sprint --model.prompt_cache=cache
"""
)
MEASURE = """usage: python -m hypernoise_pl {command} [options]

{about}.

options:
  --adapter DIR      an adapter folder (default: that of the newest fit); generator, rank and kind are taken from it,
                     rewards, prompts and judge from the run folder that it lies in"""
PAGES |= {
    name: MEASURE.format(command=name, about=COMMANDS[name].capitalize()) + SHARED for name in ("validate", "test")
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the arguments of the process are left as they are, for DDP's children read them again."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(OVERVIEW.format(commands="\n".join(f"  {name:<13} {what}" for name, what in COMMANDS.items())), end="")
        return 0
    command = arguments.pop(0)
    if command == "--version":
        from hypernoise_pl import __version__

        print(__version__)
        return 0
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"commands: {', '.join(COMMANDS)}"
        print(f"hypernoise_pl: error: no command {command!r}; {hint}", file=sys.stderr)
        return 2
    if "-h" in arguments or "--help" in arguments:
        print(PAGES[command], end="")
        return 0
    try:
        with stoppable(), output_may_close():
            if command == "export":
                from hypernoise_pl.export import main as export

                return export(arguments)
            from hypernoise_pl.cli import run

            return run(command, arguments)
    except Stopped as stopped:
        print(f"hypernoise_pl {command}: {stopped}; the same command begins anew", file=sys.stderr)
        return stopped.code


if __name__ == "__main__":
    sys.exit(main())
