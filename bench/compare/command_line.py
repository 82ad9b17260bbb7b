"""What the scripts here have in common: numbers and lists of their command lines, and one sentence where something is missing or fails."""

import argparse
import importlib.util
import subprocess

REQUIREMENTS = "pip install -r tests/reference/requirements.txt"


def positive(text):
    """A number of an option that must be one at least."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def some_of(*names):
    """An option's list of some of these, with commas between."""

    def parse(text):
        for name in text.split(","):
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        return text.split(",")

    return parse


def require_packages(parser, *names, install=REQUIREMENTS):
    missing = [name for name in names if not importlib.util.find_spec(name)]
    if missing:
        parser.error(f"needs {', '.join(missing)}: {install}")


def output_of(parser, command):
    """What a program prints; what it says on standard error is shown. Ends the script where it fails."""
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: cannot run {command[0]}: {error.strerror}\n")
    if run.returncode != 0:
        parser.exit(1, f"{parser.prog}: {command[0]} failed\n")
    return run.stdout
