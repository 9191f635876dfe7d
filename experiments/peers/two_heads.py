"""Two heads in plain PyTorch, on the batches of `experiments/two_heads.py`."""

import torch
from sklearn.metrics import recall_score, roc_auc_score
from torch import nn
from torch.nn import functional


class Tickets(nn.Module):
    def __init__(self, words, tags, departments):
        super().__init__()
        self.title, self.text = nn.Embedding(words, 32), nn.Embedding(words, 32)
        self.priority = nn.Linear(64 + tags, 1)
        self.department = nn.Linear(64 + tags, departments)

    def forward(self, x):
        title, text = self.title(x["title"]).mean(1), self.text(x["text"]).mean(1)
        features = torch.cat([title, text, x["tags"]], dim=1)
        return self.priority(features)[:, 0], self.department(features)


def losses(output, y):
    priority = y["priority"].float()
    weight = torch.where(priority == 1, 3.0, 1.0)
    of_priority = functional.binary_cross_entropy_with_logits(output[0], priority, weight=weight)
    of_department = functional.cross_entropy(output[1], y["department"])
    return of_priority + 0.2 * of_department, of_priority, of_department


def train(model, epochs, valid):
    """`epochs`: for each epoch its batches (x, y). Returns the history by name."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    history = {}
    for batches in epochs:
        sums, right, rows = torch.zeros(3), 0, 0
        for x, y in batches:
            optimizer.zero_grad()
            output = model(x)
            values = losses(output, y)
            values[0].backward()
            optimizer.step()
            size = len(y["priority"])
            sums += torch.stack(values).detach() * size
            right += (output[1].argmax(1) == y["department"]).sum().item()
            rows += size
        names = ("loss", "priority_loss", "department_loss")
        logs = dict(zip(names, (sums / rows).tolist(), strict=True)) | {"department_accuracy": right / rows}
        with torch.no_grad():
            output = model(valid[0])
            logs |= dict(
                zip([f"val_{n}" for n in names], map(float, losses(output, valid[1])), strict=True)
            )
        logs["val_priority_auc"] = roc_auc_score(valid[1]["priority"], output[0])
        recalls = recall_score(valid[1]["department"], output[1].argmax(1), average=None)
        logs |= {f"val_department_recall_{i}": value for i, value in enumerate(recalls)}
        for name, value in logs.items():
            history.setdefault(name, []).append(value)
    return history
