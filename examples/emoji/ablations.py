#!/usr/bin/env python3
"""The paper's ablation in miniature (arXiv 2411.07975, section 4), on the emoji: five runs of equally many steps.

    python3 ablations.py PROGRAMS [OPTION...]    # PROGRAMS: the directory of the example programs; OPTIONs are passed on to train

Each run starts from the autoencoder and the tower that train.sh has trained, everything else drawn from the seed, and differs from
janusflow.json in what VARIANTS says. Killed, it goes on where it was. Writes ablations/*/ here, and docs/ablations.csv: of every variant
the losses of the evaluation's samples as they fall, and what its pictures and answers are worth in the end.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPS, BATCH = 500, {"understanding": 6, "generation": 12}
VARIANTS = {
    "A": ("no alignment", {"losses": {"repa": 0}}, ("understanding", "generation")),
    "B": ("one encoder for both", {"shared_encoder": True}, ("understanding", "generation")),
    "D": ("questions only", {}, ("understanding",)),
    "E": ("pictures only", {}, ("generation",)),
    "F": ("JanusFlow", {}, ("understanding", "generation")),
}


def config_of(name):
    _, changes, tasks = VARIANTS[name]
    config = json.loads((HERE / "janusflow.json").read_text())
    for key in ("model", "vae", "manifest"):
        config[key] = "../" + config[key]
    config["validation"] = {"manifest": "../data/evaluation.jsonl", "every": STEPS // 4}
    config |= {"output": name, "cache": "cache", "log": {"every": 10}, "optimizer": config["optimizer"] | {"ema_decay": 0.98}}
    config["losses"] |= changes.get("losses", {})
    config |= {key: value for key, value in changes.items() if key != "losses"}
    mix = {task: BATCH[task] for task in tasks}
    config["stages"] = [{"preset": 2, "learning_rate": 0.0015, "warmup_steps": 30, "steps": STEPS, "batch_size": sum(mix.values()), "mix": mix,
                         "decay": {"shape": "linear", "steps": STEPS // 2}}]
    return config


def pictures_of(programs, run):
    command = [programs / "evaluate", "--json", "--only", "pictures", "--model", run / "model", "--data", HERE / "../models/emoji/evaluation"]
    measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["picture"]
    return measured["train"]["top1"], measured["train"]["top5"], measured["heldout"]["top1"]


def main():
    programs, options = Path(sys.argv[1]).resolve(), sys.argv[2:]
    folder = HERE / "ablations"
    folder.mkdir(exist_ok=True)
    rows = []
    for name, (title, _, tasks) in VARIANTS.items():
        path, run = folder / f"{name}.json", folder / name
        path.write_text(json.dumps(config_of(name), indent=1))
        resume = ["--resume"] if any(run.glob("checkpoints/step-*")) else []
        subprocess.run([programs / "train", path, *resume, *options], check=True)
        top1, top5, heldout = pictures_of(programs, run) if "generation" in tasks else ("", "", "")
        with open(run / "validation.csv", newline="") as file:
            for line in csv.DictReader(file):
                asks, last = "understanding" in tasks, int(line["step"]) == STEPS
                rows.append({"variant": name, "title": title, "step": line["step"],
                             "ar": line["ar"] if asks else "", "answers": line["answers"] if asks else "",
                             "rf": line["rf"] if "generation" in tasks else "", "repa": line["repa"] if "generation" in tasks else "",
                             "top1": top1 if last else "", "top5": top5 if last else "", "heldout_top1": heldout if last else ""})
    with open(HERE / "../../docs/ablations.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


main()
