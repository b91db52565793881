from pipelines.command.suggest import suggest

KNOWN = ["quickstart", "moco-v2", "moco-v1", "byol"]


def test_the_nearest_words_are_named() -> None:
    assert suggest("quikstart", KNOWN) == "did you mean quickstart?"
    assert suggest("moco-v3", KNOWN, count=2) == "did you mean moco-v2 or moco-v1?"
    assert suggest("boyl", KNOWN, form=" ({})") == " (did you mean byol?)"


def test_no_word_is_near() -> None:
    assert suggest("xyz", KNOWN, form=" ({})") == ""
    assert suggest("xyz", KNOWN, otherwise="see --help") == "see --help"
