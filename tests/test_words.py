"""The field's words: no phrase of `phrases.txt`, and functions named by verbs or by what they return."""

import ast
import re
from collections.abc import Iterator

import words
from words import ROOT

# `read`, `run`, `split`, `cut`, `put`, `set` and `spread` are verbs as well.
PARTICIPLE = re.compile(
    r"\w+ed|begun|bound|bought|broken|brought|built|caught|chosen|done|drawn|fallen|fed|felt|found|frozen|given|"
    "gone|got|grown|held|hidden|kept|known|laid|led|left|lost|made|meant|met|paid|said|seen|sent|shown|sold|"
    "spent|stood|taken|taught|thought|told|torn|thrown|understood|won|written"
)
# Verbs and nouns that end in -ed; and terms of the field.
NO_PARTICIPLES = {"embed", "exceed", "feed", "need", "proceed", "seed", "speed"}
TERMS = {"augmented", "observed", "penalized", "supervised", "weighted"}


def test_a_phrase_is_found_within_a_line_and_over_the_end_of_one():
    assert list(words.matches("It wants 3.")) == [(1, "wants", "expects, needs")]
    comment = "n = 1\n# It goes\n# on with 3.\n"
    assert [match[:2] for match in words.matches(comment)] == [(2, "goes on with")]
    message = 'raise TypeError(\n    "n must be a whole "\n    f"number, got {n}"\n)\n'
    assert [match[:2] for match in words.matches(message)] == [(2, "whole number")]
    assert not list(words.matches("There is no aim.\n\nIt goes\n\non with"))


def test_prose_uses_the_terms_of_the_field():
    wrong = words.phrases_to_replace()
    assert not wrong, "\n".join([f"{len(wrong)} phrases to replace (tests/phrases.txt):", *wrong])


def _is_participle(name: str) -> bool:
    word = name.strip("_")
    is_one = PARTICIPLE.fullmatch(word) and "_" not in word
    return bool(is_one) and word not in NO_PARTICIPLES | TERMS


def _functions() -> Iterator[tuple[str, str]]:
    """(place, name) of every function and method in funcnet/, without Python's own names."""
    for path in sorted((ROOT / "funcnet").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__"):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.name


def test_functions_are_named_by_a_verb_or_by_what_they_return():
    participles = [f"{place}: {name}" for place, name in _functions() if _is_participle(name)]
    advice = f"{len(participles)} functions are named by a participle; write `count_rows`, not `counted`:"
    assert len(participles) < 10, "\n".join([advice, *participles])
