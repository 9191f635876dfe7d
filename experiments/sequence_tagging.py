"""Does padding change a tagger? Sentences of 2 to 24 words, a tag for each word, a bidirectional GRU.

python experiments/sequence_tagging.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

WORDS, TAGS, LONGEST = 41, 4, 24  # word 0 is the padding


def sentences(n, seed):
    """Words and tags of n sentences: an ambiguous word has the tag of the next plain one."""
    rng = np.random.default_rng(seed)
    words = [rng.integers(1, WORDS, rng.integers(2, LONGEST + 1)) for _ in range(n)]
    tags = []
    for sentence in words:
        tag, of_words = 0, []
        for word in sentence[::-1]:
            tag = word % TAGS if word <= 25 else tag
            of_words.append(tag)
        tags.append(np.array(of_words[::-1]))
    return words, tags


# The job, to be compared with peers/sequence_tagging.py.
class Tagger(fn.Module):
    embed: fn.Module = fn.layers.Embedding(WORDS, 16)
    rnn: fn.Module = fn.layers.Bidirectional(fn.layers.GRU(16, 24))
    out: fn.Module = fn.Linear(48, TAGS)

    def __call__(self, x, key=None):
        words, length = x
        return self.out(self.rnn(self.embed(words), length=length))


def loss(model, example, key):
    """The mean over the words of a sentence; weighted by its length, the mean over the words of a batch."""
    (words, length), tags = example
    logits = model((words, length))
    is_word = jnp.arange(len(tags)) < length
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, tags)
    correct = logits.argmax(axis=-1) == tags
    return jnp.mean(losses, where=is_word), {"accuracy": jnp.mean(correct, where=is_word)}


def make_rows(words, tags, length=None):
    (words, lengths), (tags, _) = fn.data.pad(words, length=length), fn.data.pad(tags, length=length)
    return fn.data.Dataset(((words, lengths), tags), weight=lengths)


def tag_trainer(epochs):
    return fn.fit(loss, optax.adam(1e-2), epochs=epochs, batch_size=50)


def main():
    train, model = tag_trainer(5), Tagger().init(jax.random.key(0))
    texts, new_texts = sentences(2000, seed=0), sentences(1000, seed=1)
    runs = {}
    for length in (None, 60):
        data, new = (make_rows(*part, length) for part in (texts, new_texts))
        run = runs[length] = train(model, data, jax.random.key(1), new)
        padded = data.arrays[1].shape[1]
        print(f"padded to {padded}: loss of a word {run.history['val_loss'][-1]:.4f}, ", end="")
        print(f"accuracy {run.history['val_accuracy'][-1]:.4f}")
    pairs = zip(*(jax.tree.leaves(run.model) for run in runs.values()), strict=True)
    difference = max(float(jnp.abs(a - b).max()) for a, b in pairs)
    print(f"largest difference of the two runs' weights: {difference:.1e}")

    # What stands in the padding does not matter: a sentence alone, and with words after its end.
    rnn_model, sentence = runs[None].model, new_texts[0][0]
    alone = rnn_model((sentence, len(sentence)))
    followed = rnn_model((np.concatenate([sentence, [7, 7, 7]]), len(sentence)))[: len(sentence)]
    print(
        f"largest difference of a sentence's logits with words after its end: {abs(alone - followed).max()}"
    )


if __name__ == "__main__":
    main()
