"""How many lines of code does each job take, with funcnet and with PyTorch?

python experiments/peers/lines.py

Counted are the model, the loss and the training: no data, report, comment, docstring or blank line.
"""

import ast
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[1]

JOBS = {
    "bandit": (["NET", "reward_loss", "play"], ["make_net", "play"]),
    "contrastive_learning": (["SimCLR", "nt_xent", "train"], ["SimCLR", "nt_xent", "train"]),
    "distillation": (["STUDENT", "distillation", "fit", "distil"], ["mlp", "distil"]),
    "gan": (
        ["SMALL", "players", "generate", "disc_loss", "gen_loss", "train_gan"],
        ["mlp", "players", "train_gan"],
    ),
    "pinn": (["NET", "heat_loss", "solve"], ["make_net", "heat_loss", "solve"]),
    "sequence_tagging": (
        ["Tagger", "loss", "make_rows", "tag_trainer"],
        ["Tagger", "word_loss", "make_rows", "train"],
    ),
    "transfer_learning": (
        ["LOSS", "Net", "fit", "from_scratch", "frozen", "fine_tuned", "rates_by_path"],
        ["Flatten", "Net", "from_scratch", "frozen", "fine_tuned", "rates_by_path", "train"],
    ),
    "two_heads": (["Tickets", "loss", "train"], ["Tickets", "losses", "train"]),
    "vae": (["VAE", "make_loss", "train_vae"], ["VAE", "losses", "train_vae"]),
}
"""For each job the classes, functions and values that do it, here and there."""


def count_lines(path: Path, names: list[str]) -> int:
    """The lines of code of these definitions in a file."""
    tree = ast.parse(path.read_text())
    parts = {
        name: node
        for node in tree.body
        for name in [getattr(node, "name", None), *(t.id for t in _targets(node))]
    }
    lines: set[int] = set()
    for name in names:
        node = parts[name]
        docstrings = {
            line
            for inner in ast.walk(node)
            if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant)
            for line in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1)
        }
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        lines |= set(range(first, (node.end_lineno or first) + 1)) - docstrings
    source = path.read_text().splitlines()
    return sum(bool(source[i - 1].strip()) and not source[i - 1].strip().startswith("#") for i in lines)


def _targets(node: ast.stmt) -> list[ast.Name]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def main() -> None:
    print(f"{'job':22}{'funcnet':>8}{'PyTorch':>9}")
    for job, (ours, theirs) in JOBS.items():
        counts = (
            count_lines(EXPERIMENTS / f"{job}.py", ours),
            count_lines(EXPERIMENTS / "peers" / f"{job}.py", theirs),
        )
        print(f"{job:22}{counts[0]:8}{counts[1]:9}")


if __name__ == "__main__":
    main()
