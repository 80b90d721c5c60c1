"""Generated text: prose, an echo of the prompt, or words in alphabetical order.

Each word of ``FILLER`` and ``COUNTED`` is one token of cl100k_base and of o200k_base, with and without the space before
it, so a text of N words has N tokens by any client's count. The tests count them.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import cycle, islice

from fastmock.core.completion import Tokenizer

FILLER = """
the people of the town went down to the river early in the day to see how high the water was and what the storm had left
some of them walk slow and talk about the weather while others run with the children over the field a small boat is
still there under the tree where the old man had left it he said that the wind was strong all night and no one could
sleep but now the sun is out and the air is clear so they sit on the grass and eat bread and drink water from the farm
after a while a woman from the next town stop by with a letter and read it to them it is from her son who work on a ship
far away he write that the sea is good and the light is clear and that he will be home before the end of the year
everyone is happy to hear this and they plan a party with music and food for the whole street then the day is done and
they go back up the hill to the house with the red door
""".split()  # noqa: SIM905 - read as text
COUNTED = """
able action added age all alone among animal apply around author back base been being bill blood book bottom break build
call camera car case cause change chief church claim close coach come could create data dead degree did dog double drive
during east edge else enter even except eye fail far feel fight film fine firm five flow food force former free front
future girl glass gone gray ground guess hair hang has health heat her him hole host hour ice impact issue job key kind
lab last lay least leg let lie likely link live look lot made man mark matter member middle miss moment most mouth music
nation never nice none note number office old open other over pain parent pass pay period photo plan player policy
pretty pull quick radio rate read recent reduce report return rise road root run sand school season see send serve shape
short show since site skin some soon south speed staff star step stone street stuff sun take tax term than their there
think those time tone touch train trial truth two until used video voice wall warm wave week went when while why wild
window within worker write yet
""".split()  # noqa: SIM905 - read as text


def lorem(tokens: int, seed: int, message: str) -> str:
    """Return ``tokens`` words of prose, starting at a word chosen by the seed and the message."""
    digest = blake2b(b"%d:%b" % (seed, message.encode(errors="replace")), digest_size=4).digest()
    start = int.from_bytes(digest, "big") % len(FILLER)
    return " ".join(islice(cycle(FILLER), start, start + tokens))


def echo(tokens: int, message: str, tokenizer: Tokenizer) -> str:
    """Return the first ``tokens`` tokens of a message, repeated from the start as often as needed."""
    said = tokenizer.pieces(message.strip())
    if not said:
        return ""
    whole = sum(count for count, _ in said)
    times, left = divmod(tokens, whole)
    text = " ".join([message.strip()] * times)
    rest, _ = head(said, left)
    return f"{text} {rest}" if text and rest else text or rest


def counter(tokens: int) -> str:
    """Return words in alphabetical order, repeated, so that lost, duplicated or swapped words are visible."""
    return " ".join(islice(cycle(COUNTED), tokens))


def head(pieces: Sequence[tuple[int, str]], most: int) -> tuple[str, int]:
    """Return the longest prefix of a text, given by its pieces, of at most ``most`` tokens, and its number of
    tokens.
    """
    kept, tokens = [], 0
    for count, piece in pieces:
        if tokens + count > most:
            break
        tokens += count
        kept.append(piece)
    return "".join(kept), tokens
