"""`experiments/bandit.py` in PyTorch: a contextual bandit that learns while it plays.

python experiments/peers/bandit.py
"""

import torch

VISITORS, FEATURES, ARTICLES = 16, 8, 4


def make_net():
    return torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 32), torch.nn.ReLU(), torch.nn.Linear(32, ARTICLES)
    )


def draw_rounds(count):
    for _ in range(count):
        yield (
            torch.randn(VISITORS, FEATURES),
            torch.rand(VISITORS),
            torch.randint(0, ARTICLES, (VISITORS,)),
            0.3 * torch.randn(VISITORS),
        )


# The job, to be compared with bandit.py.
def play(net, rounds, epsilon, taste, rate=1e-2):
    """The mean regret of a visitor in each round."""
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    regret = []
    for context, coin, other, noise in rounds:
        with torch.no_grad():
            best_guess = net(context).argmax(dim=-1)
        article = torch.where(coin < epsilon, other, best_guess)
        expected = torch.sin(2.0 * context @ taste)
        chosen = expected.gather(-1, article[:, None])[:, 0]
        optimizer.zero_grad()
        prediction = net(context).gather(-1, article[:, None])[:, 0]
        loss = ((prediction - (chosen + noise)) ** 2).mean()
        loss.backward()
        optimizer.step()
        regret.append((expected.max(dim=-1).values - chosen).mean().item())
    return regret


def main():
    torch.manual_seed(0)
    taste = torch.randn(FEATURES, ARTICLES) / FEATURES**0.5
    for epsilon in (0.0, 0.02, 0.1, 0.3, 1.0):
        regret = torch.tensor(play(make_net(), draw_rounds(1000), epsilon, taste))
        print(f"epsilon {epsilon:.2f}: {regret.mean():.3f}, last hundred rounds {regret[-100:].mean():.3f}")


if __name__ == "__main__":
    main()
