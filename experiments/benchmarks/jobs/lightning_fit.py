"""Lightning: a LightningModule, a DataLoader and a Trainer without bar, logger, checkpoints and summary."""

import logging
import warnings
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from jobs import Job, torch_network
from workloads import Workload


class Network(lightning.LightningModule):
    def __init__(self, work: Workload) -> None:
        super().__init__()
        self.work, self.net, self.losses = work, torch_network.network(work), torch_network.losses(work)

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        x, y = batch
        loss, right = self.losses(self.net(x), y)
        metrics = {"loss": loss, "accuracy": right / len(x)} if self.work.classes else {"loss": loss}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(x))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch_network.optimizer(self.work, self.net)


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{"threads": threads} for threads in torch_network.THREADS]


def prepare(work: Workload, threads: int) -> Job:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in (".*does not have many workers.*", ".*treespec, LeafSpec.*is deprecated.*"):
        warnings.filterwarnings("ignore", message)
    model = Network(work)
    loader = DataLoader(
        TensorDataset(*torch_network.tensors(work)), batch_size=work.batch_size, shuffle=work.shuffle
    )

    def train(seed: int) -> Any:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        torch_network.restart(work, model.net)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=work.epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, loader)
        return model.net

    return Job(train, lambda made: torch_network.weights(work, made))
