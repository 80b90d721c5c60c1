"""Embedding vectors: texts that share words are close, so retrieval tests find the right text."""

import hashlib

import numpy as np
import pytest

from fastmock.content import embedding_vectors

pytestmark = pytest.mark.unit


def embed(contents, size, keep, seed):
    return np.array(list(embedding_vectors.embed(contents, size, keep, seed)))


# A help page of a shop, and how people ask for each of its entries.
CORPUS = {
    "You can return any item within thirty days of delivery for a full refund.": [
        "how many days do I have to return an item",
        "refund after delivery",
        "can I get a full refund if I return something",
    ],
    "Standard shipping takes three to five business days and is free above fifty euros.": [
        "is shipping free",
        "how long does standard shipping take",
        "business days until my parcel arrives with standard shipping",
    ],
    "To reset your password, open the login page and choose 'forgot password'.": [
        "I forgot my password",
        "how do I reset the password for my login",
        "reset password",
    ],
    "We accept credit cards, bank transfer and payment on invoice.": [
        "can I pay by bank transfer",
        "which credit cards do you accept",
        "payment on invoice possible?",
    ],
    "Gift vouchers are valid for two years and cannot be exchanged for cash.": [
        "how long are gift vouchers valid",
        "exchange a voucher for cash, vouchers as cash",
        "is my gift voucher from two years ago still valid",
    ],
    "The warranty covers defects in material for twenty-four months after purchase.": [
        "what does the warranty cover, which defects",
        "months of warranty after purchase",
        "is a material defect a case for the warranty",
    ],
    "Our support team answers the phone on weekdays from nine to six.": [
        "when does support answer the phone",
        "phone number of the support team",
        "is your team there on weekdays",
    ],
    "Orders can be cancelled free of charge until they have left the warehouse.": [
        "can my order be cancelled",
        "orders cancelled before leaving the warehouse",
        "has my parcel left the warehouse",
    ],
    "Delete your account in the privacy settings; all personal data is erased within a week.": [
        "delete account",
        "where are the privacy settings",
        "is all my personal data erased when I delete the account",
    ],
    "Subscribe to the newsletter to learn about new products and seasonal discounts.": [
        "newsletter subscribe",
        "how do I learn about discounts",
        "news about new products",
    ],
    "Bicycles are delivered assembled; only the pedals and the handlebar must be fixed.": [
        "is the bicycle delivered assembled",
        "fix the pedals and the handlebar of my bicycle",
        "which parts must be fixed when bicycles are delivered",
    ],
    "Wash the jacket at thirty degrees and never put it into the dryer.": [
        "can the jacket go into the dryer",
        "at how many degrees do I wash the jacket",
        "washing a jacket: degrees?",
    ],
    "The battery charges fully in four hours and lasts for about eighty kilometres.": [
        "how many kilometres does the battery last",
        "hours until the battery is fully charged",
        "battery charges how long",
    ],
    "Stores in Berlin, Hamburg and Munich offer click and collect on the same day.": [
        "click and collect in Hamburg",
        "do you have stores in Munich",
        "collect on the same day in a store in Berlin",
    ],
    "International customers pay import duties and taxes to the carrier.": [
        "who pays import duties",
        "taxes for international customers",
        "do I pay duties to the carrier",
    ],
    "Download the invoice as a PDF from the order history in your profile.": [
        "download my invoice",
        "where is the order history",
        "invoice as pdf from my profile",
    ],
    "Students receive ten percent off with a valid university email address.": [
        "discount for students with a university email",
        "percent off for students",
        "is my university address valid for ten percent off",
    ],
    "Sizes run small, so choose one size larger than you usually wear.": [
        "do the sizes run small",
        "should I choose a larger size than I usually wear",
        "which size should I choose",
    ],
    "Damaged parcels must be reported to us with a photo within two working days.": [
        "my parcel arrived damaged",
        "report damaged parcels with a photo",
        "within how many working days must a damaged parcel be reported",
    ],
    "The mobile app is available for Android and iOS and works without a connection.": [
        "is there a mobile app for Android",
        "does the app work without a connection",
        "app available on iOS?",
    ],
}
MOST_WRONG = 0.05


@pytest.mark.parametrize(("size", "keep"), [(1536, 1536), (3072, 3072), (1536, 512)])
@pytest.mark.parametrize("seed", [0, 1])
def test_embeddings_rank_the_right_document_first(size, keep, seed):
    documents = embed(list(CORPUS), size, keep, seed)
    queries = [(query, number) for number, asked in enumerate(CORPUS.values()) for query in asked]
    found = (embed([query for query, _ in queries], size, keep, seed) @ documents.T).argmax(axis=1)
    wrong = [query for (query, number), first in zip(queries, found, strict=True) if first != number]
    assert len(wrong) <= MOST_WRONG * len(queries), wrong


def test_embeddings_of_texts_with_shared_words_are_closer():
    [text, same_words, some_words, no_words, nearly] = embed(
        [
            "the cat sat on the mat",
            "on the mat the cat sat",
            "a cat on a sofa",
            "quarterly revenue grew sharply",
            "the cat sat on the mat!",
        ],
        1536,
        1536,
        0,
    ).astype(float)
    assert text @ nearly > text @ same_words > text @ some_words + 0.2 > text @ no_words + 0.3
    assert abs(text @ no_words) < 0.15
    assert 0.9 < text @ nearly < 1


def test_embeddings_of_scripts_without_spaces_compare_by_content():
    [cats, felines, money] = embed(["猫は好きです", "私は猫が好き", "請求書を送る"], 1536, 1536, 0).astype(float)
    assert cats @ felines > 0.3 > cats @ money + 0.1


def test_embeddings_of_different_texts_differ():
    texts = [f"text number {number} of many {'word ' * (number % 7)}" for number in range(100)] + ["", "!", "é"]
    found = embed(texts, 1536, 256, 0)
    assert len({row.tobytes() for row in found}) == 103
    for number in (0, 31, 32, 99, 100, 102):  # alone it is the same as among others
        assert np.array_equal(embed([texts[number]], 1536, 256, 0)[0], found[number])
    assert np.linalg.norm(found.astype(float), axis=1) == pytest.approx(1, abs=1e-6)


def test_embeddings_of_token_inputs_compare_like_words():
    [tokens, shared, other, long] = embed([[5, 6, 7], [5, 6, 9], [1, 2], [2**70, -1]], 1536, 1536, 0).astype(float)
    assert tokens @ shared > 0.5 > tokens @ other + 0.3
    assert np.linalg.norm(long) == pytest.approx(1, abs=1e-6)


def test_embeddings_have_the_same_bytes_on_any_machine():
    found = embed(["the same everywhere", "naïve 世界", [1, 2, 3]], 1536, 1536, 0)
    assert hashlib.sha256(found.astype("<f4").tobytes()).hexdigest()[:16] == GOLDEN


GOLDEN = "56d01796ec4fe1d6"
