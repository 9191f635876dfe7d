"""`experiments/sequence_tagging.py` in PyTorch: a tagger of packed sequences.

python experiments/peers/sequence_tagging.py
"""

import runpy
from pathlib import Path

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

WORDS, TAGS, LONGEST = 41, 4, 24


# The job, to be compared with sequence_tagging.py.
class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(WORDS, 16)
        self.rnn = torch.nn.GRU(16, 24, batch_first=True, bidirectional=True)
        self.out = torch.nn.Linear(48, TAGS)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(self.embed(words), lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=words.shape[1])
        return self.out(outputs)


def word_loss(model, words, lengths, tags):
    """The mean over the words of a batch; the padding has the tag -100, which is ignored."""
    logits = model(words, lengths)
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tags, ignore_index=-100)
    return loss, (logits.argmax(dim=-1) == tags).sum() / (tags != -100).sum()


def make_rows(words, tags):
    words, tags = ([torch.as_tensor(part) for part in parts] for parts in (words, tags))
    lengths = torch.tensor([len(sentence) for sentence in words])
    padded_tags = pad_sequence(tags, batch_first=True, padding_value=-100)
    return pad_sequence(words, batch_first=True), lengths, padded_tags


def train(model, rows, orders, batch_size=50):
    """The mean loss of a word in each epoch; `orders` are permutations of the rows, one for each epoch."""
    optimizer, history = torch.optim.Adam(model.parameters(), lr=1e-2), []
    for order in orders:
        model.train()
        total, count = 0.0, 0
        for batch in order.split(batch_size):
            words, lengths, tags = (part[batch] for part in rows)
            optimizer.zero_grad()
            loss, _ = word_loss(model, words, lengths, tags)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * lengths.sum().item(), count + lengths.sum().item()
        history.append(total / count)
    return history


def main():
    torch.manual_seed(0)
    sentences = runpy.run_path(str(Path(__file__).parents[1] / "sequence_tagging.py"))["sentences"]
    rows, new_rows = make_rows(*sentences(2000, seed=0)), make_rows(*sentences(1000, seed=1))
    model = Tagger()
    train(model, rows, [torch.randperm(2000) for _ in range(5)])
    model.eval()
    with torch.no_grad():
        loss, accuracy = word_loss(model, *new_rows)
    print(f"loss of a word {loss:.4f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
