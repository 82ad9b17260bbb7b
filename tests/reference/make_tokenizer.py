"""Makes a small byte-level BPE tokenizer of DeepSeek's kind and what the `tokenizers` and `transformers` libraries make of it.

Writes tests/data/tokenizer/: tokenizer.json (trained here on made-up words) and cases.json:
  encode      [[input bytes in base64, ids], ...]: 2,000 strings in every script, emoji, controls, broken UTF-8 (errors="replace")
  decode      [[ids, text with special tokens, text without], ...]
  split       [{pre_tokenizer, texts, pieces}, ...]: other pre-tokenizers than DeepSeek's, pieces in the byte alphabet where it applies
  models      [{tokenizer, encode: [[text, ids], ...]}, ...]: unknown tokens, merges ignored, merges as lists, templates
  processor   [{tokenizer_config, special_tokens_map, ids, prompts}, ...]: LlamaTokenizerFast with the processor's missing tags added
With --vocabulary FILE (a DeepSeek tokenizer.json), writes only `encode` cases for that one, to the file given by --out.
"""

import argparse
import base64
import json
import random
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

DATA = Path(__file__).resolve().parent.parent / "data" / "tokenizer"
BOS, EOS, GEN = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cbegin\u2581of\u2581generation\uff5c>"
ODD = "\xf8\xf6\xfa\xff\xf5\xf7\xfb\xfd\xc0\xf9\xc1\xfe\xfc"  # the bytes that UTF-8 never uses, as characters: added tokens of DeepSeek's

# DeepSeek's cased letters, and the expressions that cut its texts one after another.
LETTERS = (
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-"
    "\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-"
    "\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15"
    "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc"
    "\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107"
    "\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149"
    "\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f"
    "\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-"
    "\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-"
    "\U000118df\U0001e900-\U0001e943"
)
EXPRESSIONS = [
    r"[\r\n]",
    r"\s?[" + LETTERS + "]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
]

# First and last code point of the scripts' letters (a choice from Unicode's Blocks.txt).
SCRIPTS = """0041-005A 0061-007A 00C0-00FF 0100-017F 0180-024F 0250-02AF 02B0-02FF 0300-036F 0370-03FF 0400-04FF 0500-052F 0531-0587
05D0-05EA 0620-064A 064B-0669 0700-074F 0780-07B1 07C0-07EA 0800-083E 0904-0939 093A-0963 0966-096F 0985-09B9 09BE-09EF 0A05-0A39
0A85-0AB9 0B05-0B39 0B85-0BB9 0BBE-0BF2 0C05-0C39 0C85-0CB9 0D05-0D39 0D85-0DC6 0E01-0E3A 0E40-0E5B 0E81-0EBD 0F00-0F47 0F71-0F97
1000-104F 10A0-10FF 1100-11FF 1200-135A 13A0-13FD 1401-1676 1680-169C 16A0-16F8 1700-1715 1780-17B3 17B4-17E9 1800-180E 1820-1878
1900-194F 1950-1974 1A00-1A1F 1A20-1A99 1B05-1B4C 1BC0-1BFF 1C00-1C37 1C50-1C7F 1C90-1CBF 1D00-1DBF 1E00-1EFF 1F00-1FFE 2000-206F
2070-209C 20A0-20C0 20D0-20F0 2100-218B 2190-21FF 2200-22FF 2300-23FF 2460-24FF 2500-257F 2580-25FF 2600-26FF 2700-27BF 2800-28FF
2C00-2C5F 2C80-2CFF 2D30-2D70 2E00-2E5D 2E80-2FD5 3000-303F 3041-309F 30A0-30FF 3105-312F 3131-318E 3200-32FF 3400-4DBF 4E00-9FFF
A000-A48C A4D0-A4FF A500-A62B A640-A69F A720-A7CA A800-A82B A840-A877 A880-A8D9 A8E0-A8FF A900-A953 A960-A97C A980-A9DF AA00-AA5F
AA80-AADF AB30-AB6B AB70-ABBF ABC0-ABF9 AC00-D7A3 D7B0-D7FB E000-E010 F900-FAD9 FB00-FB06 FB13-FB17 FB1D-FB4F FB50-FDFF FE70-FEFC
FF01-FFEE 10000-100FA 10280-1031F 10330-1034A 10380-103D5 10400-1044F 10480-104A9 104B0-104FB 10900-1091F 10A00-10A48 10C80-10CFF
11000-1106F 11100-11146 11600-11659 118A0-118FF 12000-12399 13000-1342E 16800-16A38 16B00-16B8F 17000-187F7 1B000-1B11E 1D100-1D1E8
1D400-1D7FF 1E900-1E959 1EC71-1ECB4 1F000-1F02B 1F100-1F1AD 20000-2A6DF 30000-3134A E0100-E01EF F0000-F000F"""
SCRIPTS = [[int(end, 16) for end in span.split("-")] for span in SCRIPTS.split()]

SPACES = " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2003\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
EMOJI = ["\U0001f600", "\U0001f44d\U0001f3fd", "\U0001f469\u200d\U0001f692", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
         "\u2764\ufe0f", "\u2764\ufe0f\u200d\U0001f525", "1\ufe0f\u20e3", "#\ufe0f\u20e3", "\U0001f1e9\U0001f1ea", "\u263a", "\u2708\ufe0f",
         "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\U0001f9d1\U0001f3ff\u200d\U0001f91d\u200d\U0001f9d1\U0001f3fb"]
WORDS = """a the red green blue small large old new bright dark cat dog fox bird fish tree house river mountain city street light cloud
apple lemon bread picture of in on with under over between and or but not who what where paints draws sees holds makes running sleeping
golden morning evening winter summer User Assistant You are helpful language vision assistant image question answer describe caption
int main return void const auto for while if else vector string size begin end std true false null def class self import from print
Kaffee Stra\xdfe \xfcber na\xefve fa\xe7ade se\xf1or \u0437\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439 \u043c\u0438\u0440 \u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u4f60\u597d \u4e16\u754c \u7ea2\u8272 \u30ab\u30bf\u30ab\u30ca \u3072\u3089\u304c\u306a \ud55c\uad6d\uc5b4 \u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 \u05e9\u05dc\u05d5\u05dd""".split()


def sentence(r, most=9):
    words = r.choices(WORDS, k=r.randint(1, most))
    text = "".join(word + r.choices([" ", ", ", ". ", "\n", "\n\n", ": ", "-", "  ", "(", ") ", ""], [60, 6, 6, 2, 2, 2, 2, 2, 1, 1, 4])[0] for word in words)
    return text + r.choice(["", "", str(r.randint(0, 99999)), "!", "?", " "])


def letters(r, most):
    low, high = r.choice(SCRIPTS)
    return "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, most)))


def broken(r):
    kind = r.randrange(5)
    if kind == 0:
        return bytes(r.randrange(256) for _ in range(r.randint(1, 12)))
    if kind == 1:  # a character cut short, then more
        text = chr(r.choice([0xE9, 0x20AC, 0x1F600, 0x10FFFF])).encode()
        return text[: r.randint(1, len(text))] + sentence(r, 2).encode()
    if kind == 2:  # overlong, surrogates, beyond the last plane
        parts = [b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf",
                 b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe\xff", b"\xed\xa0\xbd\xed\xb8\x80"]
        return b"".join(r.choice([r.choice(parts), r.choice(WORDS).encode()]) for _ in range(r.randint(1, 4)))
    if kind == 3:  # continuation bytes alone
        return b"a" + bytes(r.randrange(0x80, 0xC0) for _ in range(r.randint(1, 6))) + b" b"
    text = bytearray((sentence(r, 4) + letters(r, 4)).encode())  # a few bytes changed
    for _ in range(r.randint(1, 3)):
        text[r.randrange(len(text))] = r.randrange(256)
    return bytes(text)


def strings(r, tags, count=2000):
    """Inputs as bytes; every SCRIPTS span occurs, then a mixture."""
    out = [b"", b" ", b"\n", b"\r\n", b"\0", "\ufeff".encode(), b"User: A cat\n\nAssistant:", " ".join(ODD).encode(), b" " * 40, b"\n" * 7, b"a" * 60,
           "\U0010ffff\ufffe\uffff".encode()]
    for low, high in SCRIPTS:
        for _ in range(3):
            out.append("".join(chr(r.randint(low, high)) + r.choice(["", "", "", " ", "1", "\n", "."]) for _ in range(r.randint(3, 7))).encode())
    while len(out) < count:
        kind = r.randrange(10)
        if kind < 2:
            text = sentence(r)
        elif kind == 2:
            text = "".join(r.choice([letters(r, 3), r.choice(SPACES), r.choice(SPACES) * 2, str(r.randrange(1000))]) for _ in range(r.randint(2, 6)))
        elif kind == 3:
            text = "".join(r.choice([r.choice(EMOJI), r.choice(WORDS), " ", r.choice(SPACES)]) for _ in range(r.randint(1, 6)))
        elif kind == 4:
            text = "".join(r.choice([chr(r.randrange(32)), chr(r.randrange(0x7F, 0xA0)), r.choice(SPACES), r.choice(WORDS)]) for _ in range(r.randint(1, 8)))
        elif kind == 5:
            text = "".join(r.choice([r.choice(tags), r.choice(tags), r.choice(SPACES), r.choice(WORDS), r.choice("x1_.\u0301")]) for _ in range(r.randint(1, 7)))
        elif kind == 6:
            text = "".join(r.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~0123456789 aZ\n\t") for _ in range(r.randint(1, 20)))
        elif kind == 7:
            text = "".join(r.choice([chr(r.choice([0x660, 0x966, 0x2160, 0xBC, 0x3007, 0xFF11, 0x1D7CE, 0x2070, 0x31]) + r.randrange(3)), r.choice(WORDS), " "]) for _ in range(r.randint(1, 9)))
        else:
            out.append(broken(r))
            continue
        out.append(text.encode())
    return out


def encode_cases(tokenizer, inputs):
    return [[base64.b64encode(data).decode(), tokenizer.encode(data.decode("utf-8", "replace"), add_special_tokens=False).ids] for data in inputs]


def deepseek_like(vocabulary):
    """A trained tokenizer with DeepSeek's pre-tokenizer, its 13 odd added tokens, special ones, and three that strip or need a word's end."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Sequence([])
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(e), "isolated") for e in EXPRESSIONS]
        + [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    r = random.Random(1)
    corpus = [sentence(r, 12) for _ in range(4000)] + [letters(r, 5) for _ in range(300)]
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(ODD)), show_progress=False))
    t.add_special_tokens([AddedToken(x, normalized=True, special=True) for x in (BOS, EOS)])
    t.add_tokens([AddedToken(x, normalized=True) for x in ODD])
    t.add_special_tokens([AddedToken(GEN, normalized=False, special=True)])
    t.add_tokens([AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True), AddedToken("<both>", lstrip=True, rstrip=True),
                  AddedToken("word", single_word=True), AddedToken("<lef", normalized=True), AddedToken("words")])
    t.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, t.token_to_id(BOS))])
    return t


TAGS = [BOS, EOS, GEN, "<left>", "<right>", "<both>", "<lef", "word", "words", "wording", "<", *ODD]


def decode_cases(t, r):
    cases = []
    for i in range(300):
        if i % 3:
            ids = [r.randrange(t.get_vocab_size() + 5) for _ in range(r.randint(0, 12))]
        else:  # bytes that are often no text
            ids = [t.token_to_id(x) for x in r.choices(sorted(pre_tokenizers.ByteLevel.alphabet()), k=r.randint(1, 12))]
        cases.append([ids, t.decode(ids, skip_special_tokens=False), t.decode(ids, skip_special_tokens=True)])
    return cases


def split_cases(r):
    split = lambda e, behavior="isolated", invert=False: pre_tokenizers.Split(e, behavior, invert)
    byte_level = lambda prefix=False, regex=False: pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    cl100k = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    v3 = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    chosen = [split(e, b, i) for b in ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous") for i in (False, True)
              for e in (Regex(r"\s"), Regex(r"[aeiou]+"), Regex("e*"), " ")]
    chosen += [split(Regex(e)) for e in (r"\s+$", "$", "^", r"\w+", r"\W", r"\h+", r"\d+", r".+", r"\A.", r".\z", r".\Z", r"(?m:a.*)", r"(?i)THE|user", r"\u0041+",
                                         r"[^\s\w]+", r"(?<=e)r", r"(?<!e)r", r"\p{Lu}\p{Ll}*", r"\p{Han}+", r"(?>a+)b?", cl100k, v3)]
    chosen += [pre_tokenizers.Digits(individual_digits=d) for d in (True, False)] + [byte_level(p, x) for p in (True, False) for x in (True, False)]
    chosen += [pre_tokenizers.Sequence([split(Regex(r"\p{N}{1,3}")), split(Regex(cl100k)), byte_level()]), pre_tokenizers.Sequence([byte_level(True), split("\u0120")])]
    texts = ["User: A cat\n\nAssistant:", " The  red fox's tail, e\u0301 \u4f60\u597d 123456\u0663 \n\n ", "aaab   \t\r\n  Re-run it'LL 3.14 \U0001f600\u200d!\n", "   ", "eee",
             "\u1680\u180e\x85\x1c\u203f_ \u0660\u00bd\u2167", "a\nab\n", "\n"] + [sentence(r) + letters(r, 6) for _ in range(4)]
    return [{"pre_tokenizer": json.loads(p.__getstate__().decode()), "texts": texts, "pieces": [[piece for piece, _ in p.pre_tokenize_str(x)] for x in texts]} for p in chosen]


def model_cases():
    cases = []
    vocab = {x: i for i, x in enumerate(["<unk>", "a", "b", "c", "ab", "abc", "bc", "aa", "\u00e9"])}
    merges = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"), ("a", "a")]
    texts = ["", "abc", "aabcc", "xaxxbx", "aaaaa", "\u00e9a", "abcabc", "bca", "x", "zzz a"]
    for options in ({}, {"unk_token": "<unk>"}, {"unk_token": "<unk>", "fuse_unk": True}, {"ignore_merges": True}):
        for template in (None, "<unk> $A", "$A <unk>", "<unk> <unk> $A b"):
            t = Tokenizer(models.BPE(vocab, merges, **options))
            t.decoder = decoders.ByteLevel()
            if template:
                t.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<unk>", 0), ("b", 2)])
            state = json.loads(t.to_str())
            if options.get("fuse_unk"):  # the older way to write merges
                state["model"]["merges"] = [" ".join(m) for m in merges]
                t = Tokenizer.from_str(json.dumps(state))
            cases.append({"tokenizer": state, "encode": [[x, t.encode(x).ids] for x in texts]})

    def added(t, tokens, texts):
        t.decoder = decoders.ByteLevel()
        t.add_tokens(tokens)
        cases.append({"tokenizer": json.loads(t.to_str()), "encode": [[x, t.encode(x).ids] for x in texts]})

    letters = {x: i for i, x in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for last in (pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True),  # what cuts behind the byte alphabet passes over added tokens
                 pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), pre_tokenizers.Digits()])):
        t = Tokenizer(models.BPE(letters, []))
        t.pre_tokenizer = last
        added(t, [AddedToken("<s>", special=True), AddedToken("</s>", special=True)], ["<s>User: 12 cats</s>", "</s><s>", "<s>", "a</s>  <s>7"])
    # white space that two added tokens want
    added(Tokenizer(models.BPE(vocab, merges)), [AddedToken("\n", lstrip=True, rstrip=True, normalized=False)], ["a\n\nb", " \n \n ", "a \n", "\nb\n\n"])
    added(Tokenizer(models.BPE(vocab, merges)), [AddedToken("<t>", rstrip=True, normalized=False), AddedToken("\n", normalized=False)], ["<t>\n\nb", "<t> a<t>\n"])
    return cases


def processor_cases(tokenizer):
    """LlamaTokenizerFast as the official processor loads it, the tags that are missing added one after another."""
    from transformers import LlamaTokenizerFast

    tags = ["<image_placeholder>", GEN, "<image_beg>", "<image_end>"]
    prompts = ["User: A cat\n\nAssistant:" + GEN, "You see.\n\nUser: <image_placeholder>\nWhat <image_placeholder> is it?\n\nAssistant:", f"x {BOS}y <unk> <left>", f"x {GEN} y"]
    added = {i: {k: getattr(a, k) for k in ("content", "lstrip", "normalized", "rstrip", "single_word", "special")}
             for i, a in tokenizer.get_added_tokens_decoder().items()}
    names = {"bos_token": BOS, "eos_token": EOS}
    as_dict = {"bos_token": {"__type": "AddedToken", "content": BOS, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}, "eos_token": EOS}
    changed = {**added, max(added) + 1: {**added[max(added)], "content": "<\uff5c\u2581pad\u2581\uff5c>", "special": True}}
    configs = [
        (names, {}), ({**names, "unk_token": None}, {}), ({**names, "added_tokens_decoder": added}, {"unk_token": "<u>"}),
        ({**as_dict, "unk_token": None, "added_tokens_decoder": added, "add_bos_token": False}, {}),
        ({**names, "unk_token": None, "add_eos_token": True}, {}), ({**names, "unk_token": None, "added_tokens_decoder": changed}, {}),
        ({"unk_token": None}, {**names, "additional_special_tokens": [GEN, "<extra>"], "pad_token": "<pad>"}),
        ({**as_dict, "unk_token": None, "bos_token": {**as_dict["bos_token"], "lstrip": True, "normalized": False}}, {}),
        ({}, {**{k: {"content": v, "lstrip": True, "normalized": True, "rstrip": False, "single_word": False} for k, v in names.items()},
              "additional_special_tokens": [{"content": GEN, "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}]}),
        ({**names, "unk_token": "<image_end>", "additional_special_tokens": ["<image_beg>"]}, {}),
    ]
    cases = []
    for config, special in configs:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            tokenizer.save(str(folder / "tokenizer.json"))
            (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "LlamaTokenizerFast"}))
            if special:
                (folder / "special_tokens_map.json").write_text(json.dumps(special))
            t = LlamaTokenizerFast.from_pretrained(str(folder))
        for tag in tags:
            if t.vocab.get(tag) is None:
                t.add_special_tokens({"additional_special_tokens": [tag]})
        pad = t.vocab.get("<\uff5c\u2581pad\u2581\uff5c>")
        ids = [t.bos_token_id, t.eos_token_id, t.eos_token_id if pad is None else pad] + [t.vocab[tag] for tag in tags]
        cases.append({"tokenizer_config": config, "special_tokens_map": special, "ids": ids, "vocab_size": len(t),
                      "prompts": [[p, t.encode(p)] for p in prompts]})
    return cases


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocabulary")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    write = lambda path, value: Path(path).write_text(json.dumps(value, separators=(",", ":")) + "\n")
    if arguments.vocabulary:
        t = Tokenizer.from_file(arguments.vocabulary)
        return write(arguments.out, {"encode": encode_cases(t, strings(random.Random(2), TAGS))})
    DATA.mkdir(parents=True, exist_ok=True)
    t = deepseek_like(1000)
    write(DATA / "tokenizer.json", json.loads(t.to_str()))
    write(DATA / "cases.json", {
        "encode": encode_cases(t, strings(random.Random(2), TAGS)),
        "decode": decode_cases(t, random.Random(3)),
        "split": split_cases(random.Random(4)),
        "models": model_cases(),
        "processor": processor_cases(t),
    })


if __name__ == "__main__":
    main()
