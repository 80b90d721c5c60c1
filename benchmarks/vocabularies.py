"""Write the vocabularies of the extra ``tokens`` as files, so that load tools count tokens without a network.

    python -m benchmarks.vocabularies DIRECTORY

writes ``tiktoken/`` for ``TIKTOKEN_CACHE_DIR``, the same bytes as OpenAI's files, and ``hf/cl100k`` and ``hf/o200k``,
folders in Hugging Face's format for options such as ``--tokenizer``. Models before gpt-4o use cl100k, all others o200k.
It takes a few seconds.
"""

import argparse
import hashlib
import sys
from base64 import b64encode
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson

_LETTERS = r"[^\r\n\p{L}\p{N}]?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PATTERNS = {
    "cl100k": rf"{_ENDS}|{_LETTERS}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": "|".join(
        (
            rf"{_LETTERS}{_UPPER}*{_LOWER}+{_ENDS}?",
            rf"{_LETTERS}{_UPPER}+{_LOWER}*{_ENDS}?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
}
"""The pre-tokenization pattern of each vocabulary, from the source of tiktoken (tiktoken_ext/openai_public.py)."""
SIZES = {"cl100k": 100_256, "o200k": 199_998}
"""The number of tokens in each, without special ones."""
URL = "https://openaipublic.blob.core.windows.net/encodings/{}_base.tiktoken"
"""The URL of OpenAI's files; tiktoken names its copies by the SHA-1 of the URL."""


def tokens_of(name: str) -> list[bytes]:
    """Return the bytes of a vocabulary's tokens, by their numbers."""
    tokenizer = import_module("splintr").Tokenizer.from_pretrained(f"{name}_base")
    return [bytes(tokenizer.decode_token_bytes(number)) for number in range(SIZES[name])]


def write_tiktoken(directory: Path, name: str, tokens: list[bytes]) -> Path:
    """Write a vocabulary in the format of tiktoken's cache; return the file."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / hashlib.sha1(URL.format(name).encode()).hexdigest()
    lines = (b"%b %d\n" % (b64encode(token), number) for number, token in enumerate(tokens))
    file.write_bytes(b"".join(lines))
    return file


def write_hugging_face(directory: Path, name: str, tokens: list[bytes]) -> None:
    """Write a vocabulary as a folder for ``AutoTokenizer.from_pretrained``."""
    directory.mkdir(parents=True, exist_ok=True)
    letters = _letters()
    spelled = [letters_of(token, letters) for token in tokens]
    special = {"<|endoftext|>": 100_257 if name == "cl100k" else 199_999}
    added = [
        {"id": number, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for text, number in special.items()
    ]
    split = {"type": "Split", "pattern": {"Regex": PATTERNS[name]}, "behavior": "Isolated", "invert": False}
    by_byte = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, by_byte]},
        "post_processor": None,
        "decoder": by_byte,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: number for number, text in enumerate(spelled)},
            "merges": [[letters_of(one, letters), letters_of(other, letters)] for one, other in merges_of(tokens)],
        },
    }
    (directory / "tokenizer.json").write_bytes(orjson.dumps(document))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "bos_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
    }
    (directory / "tokenizer_config.json").write_bytes(orjson.dumps(settings))


def letters_of(token: bytes, letters: dict[int, str]) -> str:
    return "".join(letters[byte] for byte in token)


def merges_of(tokens: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the two tokens from which each longer one is merged, in the order of their numbers."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    merges = []
    for rank, token in enumerate(tokens):
        if len(token) > 1:
            parts = _merged(ranks, token, rank)
            if len(parts) == 2:
                merges.append((parts[0], parts[1]))
    return merges


def _merged(ranks: dict[bytes, int], token: bytes, most: int) -> list[bytes]:
    """Merge the bytes of a token by the merges that come before its own."""
    parts = [token[place : place + 1] for place in range(len(token))]
    pairs = [ranks.get(token[place : place + 2], most) for place in range(len(token) - 1)]  # the rank of each pair
    while pairs and (rank := min(pairs)) < most:
        place = pairs.index(rank)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        del pairs[place]
        if place:
            pairs[place - 1] = ranks.get(parts[place - 1] + parts[place], most)
        if place < len(pairs):
            pairs[place] = ranks.get(parts[place] + parts[place + 1], most)
    return parts


def _letters() -> dict[int, str]:
    """Return the character for each byte in Hugging Face's files (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in shown}
    others = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(256 + place) for place, byte in enumerate(others)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="output directory")
    directory: Path = parser.parse_args().directory
    for name in SIZES:
        tokens = tokens_of(name)
        print(write_tiktoken(directory / "tiktoken", name, tokens))
        write_hugging_face(directory / "hf" / name, name, tokens)
        print(directory / "hf" / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
