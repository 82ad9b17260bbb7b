#!/usr/bin/env python3
"""Makes a data set for `train` from the emoji that Debian ships: pictures of 64 x 64, and a manifest of prompts, questions and answers.

    python3 make_data.py OUTPUT

Needs Debian's python3-pil, fonts-noto-color-emoji, unicode-data and unicode-cldr-core. Writes OUTPUT/pictures/N.png; OUTPUT/train.jsonl;
OUTPUT/answers.jsonl: the same with other questions, the skin tone of all people among them; OUTPUT/evaluation.jsonl: what `evaluate` asks, as
samples; and OUTPUT/heldout.jsonl: a twentieth of the persons of one skin tone, one for each base at most, whose parts all occur in training
and whose combination does not. The same files on every machine that has the same fonts.
"""

import collections
import colorsys
import hashlib
import json
import random
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError:
    sys.exit(f"make_data.py: {sys.executable} has no Pillow; Debian's python3-pil brings it to /usr/bin/python3")

SIDE = 64
FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
EMOJI = "/usr/share/unicode/emoji/emoji-test.txt"
EVALUATION = Path(__file__).parent / "../models/emoji/evaluation/manifest.json"
ANNOTATIONS = "/usr/share/unicode/cldr/common/{}/en.xml"
PROMPTS, QUESTIONS = 6, 20  # lines of a picture

NAMING = ["What is this?", "What does the picture show?", "Generate the caption of this picture.", "Name this emoji."]
CLASSES = {  # what a picture may be asked to be: by the beginnings of its subgroup, by its group, by a word in its name
    "an animal": ("subgroup", "animal-"), "a plant": ("subgroup", "plant"), "food": ("subgroup", "food"), "a drink": ("subgroup", "drink"),
    "a person": ("subgroup", "person", "family"), "a face": ("subgroup", "face", "cat-face", "monkey-face"), "a vehicle": ("subgroup", "transport"),
    "a hand": ("subgroup", "hand"), "clothing": ("subgroup", "clothing"), "a building": ("subgroup", "place-building", "place-religious"),
    "a musical instrument": ("subgroup", "musical"), "a sport": ("subgroup", "sport", "person-sport"), "a symbol": ("group", "symbols"),
    "a clock": ("name", "clock"), "a heart": ("name", "heart"),
}
PERSONS = ("person-role", "person-activity", "person-sport", "person-gesture", "person-fantasy", "person")
WOMEN = {"woman", "women", "girl", "princess", "mrs", "mother", "queen"}
MEN = {"man", "men", "boy", "prince", "santa", "father"}


def keywords():
    """CLDR's keywords of each emoji."""
    words = {}
    for part in ("annotations", "annotationsDerived"):
        for entry in ElementTree.parse(ANNOTATIONS.format(part)).getroot().iter("annotation"):
            if entry.get("type") != "tts":
                words[entry.get("cp").replace("\ufe0f", "")] = [word.strip().lower() for word in entry.text.split("|")]
    return words


def main_colour(picture):
    """The colour of nearly half of what is not white, or nothing."""
    counts = collections.Counter()
    channels = picture.tobytes()
    for r, g, b in zip(channels[0::3], channels[1::3], channels[2::3]):
        hue, saturation, value = colorsys.rgb_to_hsv(r / 255, g / 255, b / 255)
        hue *= 360
        if min(r, g, b) > 224:
            continue
        if value < 0.25:
            counts["black"] += 1
        elif saturation < 0.18:
            counts["gray" if value < 0.85 else "white"] += 1
        elif hue < 15 or hue >= 340:
            counts["red" if value > 0.5 else "brown"] += 1
        elif hue < 42:
            counts["orange" if value > 0.8 and saturation > 0.5 else "brown"] += 1
        elif hue < 68:
            counts["yellow" if value > 0.6 else "brown"] += 1
        else:
            counts["green" if hue < 165 else "blue" if hue < 255 else "purple" if hue < 300 else "pink"] += 1
    if sum(counts.values()) < 30:
        return "white"
    colour, count = counts.most_common(1)[0]
    return colour if count > 0.45 * sum(counts.values()) else ""


def read_emoji():
    """Every fully qualified emoji that is one glyph of the font, flags of countries left out, each picture once."""
    font, words = ImageFont.truetype(FONT, 109), keywords()
    items, seen, group, subgroup = [], {}, "", ""
    for line in open(EMOJI, encoding="utf8"):
        if line.startswith("# group:"):
            group = line[8:].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line[11:].strip()
        match = re.match(r"^([0-9A-F ]+?)\s*; fully-qualified\s*# (\S+) E[\d.]+ (.*)$", line)
        if not match or subgroup in ("country-flag", "subdivision-flag"):
            continue
        emoji, name = match.group(2), match.group(3).strip().lower().replace("“", '"').replace("”", '"').replace("’", "'")
        if abs(font.getlength(emoji) - 135.71875) > 1:
            continue  # several glyphs
        picture = Image.new("RGBA", (136, 136), "white")
        ImageDraw.Draw(picture).text((0, 4), emoji, font=font, embedded_color=True)
        picture = picture.convert("RGB").resize((SIDE, SIDE), Image.LANCZOS)
        if min(low for low, high in picture.getextrema()) > 250:
            continue  # nothing on it
        digest = hashlib.md5(picture.tobytes()).digest()
        if digest in seen:
            seen[digest]["aliases"].append(name)
            continue
        base, _, attributes = name.partition(": ")
        tones = re.findall(r"(medium-light|medium-dark|light|medium|dark) skin tone", attributes)
        said = set(re.findall(r"[a-z']+", base))
        gender = "woman" if said & WOMEN else "man" if said & MEN else ""
        if said >= {"woman", "man"} or said >= {"women", "men"}:
            gender = ""
        item = dict(name=name, base=base, tones=tones, gender=gender, group=group.lower(), subgroup=subgroup, aliases=[], picture=picture,
                    colour="" if tones else main_colour(picture),
                    keywords=[w for w in words.get(emoji.replace("\ufe0f", ""), []) if w != name and "skin tone" not in w])
        seen[digest] = item
        items.append(item)
    return items


def with_article(thing):
    if thing.split()[0].endswith("s") and not thing.endswith("ss"):
        return thing
    return ("an " if thing[0] in "aeiou" else "a ") + thing


def prompt(item, r):
    """A prompt that the picture answers: mostly its name."""
    kind, name = r.random(), item["name"]
    if kind < 0.6:
        return name
    if kind < 0.68 and item["aliases"]:
        return r.choice(item["aliases"])
    if len(item["tones"]) == 1:
        tone = item["tones"][0]
        rest = name.split(": ", 1)[1].replace(tone + " skin tone", "").strip(", ")
        whole = item["base"] + (" with " + rest if rest else "")
        return r.choice([f"{with_article(whole)} with {tone} skin tone", f"{whole} with {tone} skin", f"{tone} skin {whole}"])
    if kind < 0.92 or not item["keywords"]:
        return r.choice([with_article(name), name + " emoji", "a picture of " + with_article(name)])
    return name + ", " + ", ".join(r.sample(item["keywords"], min(2, len(item["keywords"]))))


def is_of(item, thing):
    field, *marks = CLASSES[thing]
    return any(mark in item[field] if field == "name" else item[field].startswith(mark) for mark in marks)


def questions(item, relatives, items, r, always_tone):
    """Eight questions about one picture: its name twice, thrice whether it is a certain emoji, whether it is of a class, two of the rest. The
    tone of people's skin is of the rest, and one of the two where it is asked always."""

    def is_named():
        other = item if r.random() < 0.5 else r.choice(relatives if r.random() < 0.6 else items)
        if with_article(other["base"]) in CLASSES:  # the emoji "person" is not the only person
            return is_class()
        return f"Is this {with_article(other['base'])}?", "yes" if other["base"] == item["base"] else "no"

    def is_class():
        yes = [thing for thing in CLASSES if is_of(item, thing)]
        thing = r.choice(yes) if yes and r.random() < 0.5 else r.choice([thing for thing in CLASSES if thing not in yes])
        return f"Is this {thing}?", "yes" if thing in yes else "no"

    rest = [is_class(), (r.choice(["Which group does it belong to?", "Which group is this?"]), item["group"]),
            (r.choice(["What kind of thing is this?", "What kind of emoji is this?"]), item["subgroup"].replace("-", " "))]
    certain = []
    if item["group"] == "people & body":
        (certain if always_tone else rest).append(("What is the skin tone?", " and ".join(dict.fromkeys(item["tones"])) or "none"))
    if item["gender"]:
        rest.append(("Is this a man or a woman?", "a " + item["gender"]))
    if item["colour"]:
        rest.append((r.choice(["What is the main color?", "What color is it?"]), item["colour"]))
    asked = [(question, item["name"]) for question in r.sample(NAMING, 2)] + [is_named(), is_named(), is_named(), is_class()]
    asked += certain + r.sample(rest, 2 - len(certain))
    r.shuffle(asked)
    return [dict(question=question, answer=answer) for question, answer in asked]


def fact(item, r):
    if item["keywords"] and r.random() < 0.4:
        return f"Describe {with_article(item['base'])} with keywords.", ", ".join(item["keywords"][:4])
    return f"What kind of thing is {with_article(item['base'])}?", item["subgroup"].replace("-", " ")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_data.py OUTPUT")
    for path, package in (FONT, "fonts-noto-color-emoji"), (EMOJI, "unicode-data"), (ANNOTATIONS.format("annotations"), "unicode-cldr-core"):
        if not Path(path).exists():
            sys.exit(f"make_data.py: {path} is missing; Debian's {package} brings it")
    output, r, r_questions, r_answers = Path(sys.argv[1]), random.Random(0), random.Random(1), random.Random(2)
    (output / "pictures").mkdir(parents=True, exist_ok=True)
    items = read_emoji()
    persons = [i for i in items if len(i["tones"]) == 1 and i["subgroup"] in PERSONS]
    r.shuffle(persons)
    held, bases = set(), set()
    for item in persons:
        if len(held) < round(0.05 * len(persons)) and item["base"] not in bases:
            held.add(item["name"])
            bases.add(item["base"])
    variants = collections.Counter(item["base"] for item in items)
    relatives = collections.defaultdict(list)
    for item in items:
        relatives[item["subgroup"]].append(item)
    files = {name: open(output / f"{name}.jsonl", "w", encoding="utf8") for name in ("train", "answers", "heldout")}
    for number, item in enumerate(items):
        picture = f"pictures/{number}.png"
        item["picture"].save(output / picture)
        # Plain emoji must not drown in skin tones: a base with n variants comes sqrt(n) times as often as one without.
        weight = round(variants[item["base"]] ** -0.5, 4)

        def answered(r, always_tone):
            return [dict(task="understanding", picture=picture, questions=questions(item, relatives[item["subgroup"]], items, r, always_tone), weight=weight)
                    for _ in range(QUESTIONS)]

        prompts = [dict(task="generation", prompt=item["name"] if k == 0 else prompt(item, r), picture=picture, weight=weight) for k in range(PROMPTS)]
        lines = {"train": prompts + answered(r_questions, False), "answers": prompts + answered(r_answers, True)}
        question, answer = fact(item, r_questions)
        lines["train"].append(dict(task="text", question=question, answer=answer, weight=weight))
        if item["name"] in held:
            lines = {"heldout": lines["train"]}
        for name, samples in lines.items():
            files[name].writelines(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
    places = {item["name"]: f"pictures/{number}.png" for number, item in enumerate(items)}
    with open(output / "evaluation.jsonl", "w", encoding="utf8") as file:
        for asked in json.load(open(EVALUATION, encoding="utf8"))["pictures"]:
            picture, turns = places[asked["name"]], [dict(question=q["question"], answer=q["answer"]) for q in asked["questions"]]
            for line in (dict(task="generation", prompt=asked["name"], picture=picture), dict(task="understanding", picture=picture, questions=turns)):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(f"{len(items)} pictures, {len(held)} of them held out")


main()
