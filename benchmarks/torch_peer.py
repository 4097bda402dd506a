"""A training step in PyTorch, beside which `benchmarks.step --peer torch` times its own.

The same mathematics written once more: gradients come from differentiating sums whose coefficients are held constant,
where the project has them by hand. It imports nothing of the project, and TensorFlow is not in its process.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import relu

EPS, STEP_SIZE, STEPS, START = 8 / 255, 0.01, 6, 0.001
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images, labels `[B]`, and the positives' rows `[A]`


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.torch_peer",
        description="Takes a training step for every line that it reads, and answers each with a line.",
    )
    parser.add_argument("--method", default="adap_ln", choices=list(LOSSES))
    parser.add_argument("--batch-size", type=int, default=128, help="(%(default)s)")
    parser.add_argument("--rows", type=int, default=1000, help="positives in the table (%(default)s)")
    given = parser.parse_args(arguments)
    step = stepper(given.method, given.batch_size, given.rows)
    for _ in sys.stdin:
        step()
        print("done", flush=True)


def stepper(method: str, batch_size: int, rows: int) -> Callable[[], float]:
    """A step that can be taken again and again on the same images, half of them positives; it gives the loss."""
    torch.manual_seed(0)
    network, ranking, loss = resnet18(), Ranking(rows), LOSSES[method]
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, eps=1e-8, weight_decay=2e-4)  # L2 in the gradient
    image = torch.rand(batch_size, 3, 32, 32)
    label = (torch.arange(batch_size) < batch_size // 2).float()

    def take() -> float:
        optimizer.zero_grad()
        row = torch.randperm(rows)[: batch_size // 2]  # anywhere in the table
        value, carrier = loss(network, (image, label, row), ranking)
        carrier.backward()
        optimizer.step()
        return float(value.detach())

    return take


class Ranking:
    """`P(clean) + R`, and the moving averages it needs.

    A carrier is a sum whose gradient is that of the value by eq. 3 or 12; its own number means nothing.

    Args:
        rows: number of positives.
        floor: smallest `u1` and `u2`.
    """

    def __init__(self, rows: int, floor: float = 0.0):
        self.gamma1, self.gamma2, self.margin, self.floor = 0.1, 0.9, 0.6, floor
        self.table = torch.zeros(rows, 2)
        self.averages = torch.zeros(3)

    def __call__(
        self, h: torch.Tensor, h_adv: torch.Tensor, label: torch.Tensor, row: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The value and its carrier, from logits `[B]` of both views."""
        parts = self.precision(torch.sigmoid(h), label, row), self.listwise(torch.tanh(h), torch.tanh(h_adv))
        (p, p_carrier), (r, r_carrier) = parts
        return p + r, p_carrier + r_carrier

    def precision(self, s: torch.Tensor, label: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Minus the surrogate of AP, eq. 1 to 3."""
        pair = relu(self.margin - s[label == 1][:, None] + s).square()
        estimate = torch.stack([(pair * label).mean(1), pair.mean(1)], 1).detach()
        old = self.table[row]
        moved = torch.where(old > 0, torch.lerp(old, estimate, self.gamma1), estimate)
        self.table[row] = moved = moved.clamp_min(self.floor)
        u1, u2 = moved.unbind(1)
        coefficient = (u1[:, None] - u2[:, None] * label) / u2.square()[:, None]
        return -(u1 / u2).mean(), (coefficient * pair).mean()

    def listwise(self, s: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The KL divergence of the top-one probabilities, eq. 8, 11 and 12; tanh cannot overflow."""
        sums = torch.stack([(s.exp() * (s - t)).mean(), s.exp().mean(), t.exp().mean()])
        moved = torch.lerp(self.averages, sums.detach(), self.gamma2) if self.averages.any() else sums.detach()
        self.averages = moved
        u1, u2, u3 = moved
        value = u1 / u2 - u2.log() + u3.log()
        slopes = torch.stack([1 / u2, -u1 / u2**2 - 1 / u2, 1 / u3])  # of the value, by each average
        return value, slopes @ sums


def of_clean(network: nn.Module, batch: Batch, ranking: Ranking) -> tuple[torch.Tensor, torch.Tensor]:
    """`ce`."""
    image, label, _ = batch
    value = cross_entropy(network(image)[:, 0], label)
    return value, value


def of_attacked(network: nn.Module, batch: Batch, ranking: Ranking) -> tuple[torch.Tensor, torch.Tensor]:
    """`pgd`."""
    image, label, row = batch
    return of_clean(network, (attacked(network, image, label), label, row), ranking)


def of_both(network: nn.Module, batch: Batch, ranking: Ranking) -> tuple[torch.Tensor, torch.Tensor]:
    """`adap_ln`."""
    image, label, row = batch
    perturbed = attacked(network, image, label)
    return ranking(network(image)[:, 0], network(perturbed)[:, 0], label, row)


LOSSES: Mapping[str, Callable[[nn.Module, Batch, Ranking], tuple[torch.Tensor, torch.Tensor]]] = {
    "ce": of_clean,
    "pgd": of_attacked,
    "adap_ln": of_both,
}
"""Value and carrier of a batch, by method."""


def attacked(network: nn.Module, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Images that sign steps have moved to a higher cross-entropy; the network in inference mode."""
    network.eval()
    x = image + START * torch.randn_like(image)
    low, high = (image - EPS).clamp_min(0), (image + EPS).clamp_max(1)
    for _ in range(STEPS):
        x.requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(network(x)[:, 0], label, reduction="sum"), x)
        x = torch.clamp(x.detach() + STEP_SIZE * slope.sign(), low, high)
    network.train()
    return x


def resnet18() -> nn.Module:
    """ResNet-18 for one logit: ImageNet's stem, its normalisation inside, the layout that PyTorch has by default."""
    stem = [Normalised(), *unit(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    widths = (64, 64, 128, 256, 512)
    for before, width in itertools.pairwise(widths):
        stem += [Block(before, width, 1 if before == width else 2), Block(width, width)]
    return nn.Sequential(*stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1))


class Normalised(nn.Module):
    """Images in [0, 1] by ImageNet's mean and deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.deviation = (torch.tensor(x)[:, None, None] for x in (MEAN, DEVIATION))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The images, normalised."""
        return (x - self.mean) / self.deviation


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, width: int, stride: int = 1):
        super().__init__()
        self.inner = nn.Sequential(*unit(inputs, width, 3, stride), nn.ReLU(inplace=True), *unit(width, width))
        self.around = nn.Sequential(*([] if inputs == width else unit(inputs, width, 1, stride)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Their sum, rectified."""
        return relu(self.inner(x) + self.around(x), inplace=True)


def unit(inputs: int, width: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """A convolution and its BatchNorm."""
    convolution = nn.Conv2d(inputs, width, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(width)


if __name__ == "__main__":
    main()
