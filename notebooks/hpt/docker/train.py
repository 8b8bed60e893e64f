"""Trains a small neural network on 8x8 images of handwritten digits.

Its flags decide how well it learns; finding good values for them is the job of the experiment:

    python3 train.py --learning_rate 0.02 --batch_size 32

Every epoch writes its accuracy and loss, with the time, to the metrics file, where Katib's File
collector reads them, and prints the same numbers for people.
"""

import argparse
import datetime
import gzip
import pathlib

import numpy as np

TEST_SHARE = 0.2


def load_digits(path):
    """Returns (training images, labels, test images, labels); pixels are scaled to 0..1."""
    with gzip.open(path, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    images, labels = table[:, :-1] / 16.0, table[:, -1].astype(int)
    # The same split for every trial: trials must differ by their parameters alone.
    order = np.random.default_rng(0).permutation(len(labels))
    test = int(len(labels) * TEST_SHARE)
    return images[order[test:]], labels[order[test:]], images[order[:test]], labels[order[:test]]


def shifted_copies(images, labels):
    """Returns the images and four copies of each, moved by one pixel to each side.

    Digits are not always centred; a network that has seen them moved recognises more of them.
    """
    grids = images.reshape(-1, 8, 8)
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    moved = [np.roll(grids, move, axis=(1, 2)) for move in moves]
    return np.concatenate(moved).reshape(-1, 64), np.tile(labels, len(moves))


def softmax(scores):
    scores = scores - scores.max(axis=1, keepdims=True)
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


class Network:
    """One hidden layer with rectified linear units."""

    def __init__(self, random, inputs, hidden, outputs):
        self.weights = [
            random.normal(0, np.sqrt(2 / inputs), (inputs, hidden)),
            np.zeros(hidden),
            random.normal(0, np.sqrt(2 / hidden), (hidden, outputs)),
            np.zeros(outputs),
        ]

    def forward(self, images):
        first, first_bias, second, second_bias = self.weights
        hidden = np.maximum(images @ first + first_bias, 0)
        return hidden, softmax(hidden @ second + second_bias)

    def gradients(self, images, labels):
        hidden, output = self.forward(images)
        error = output
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        back = (error @ self.weights[2].T) * (hidden > 0)
        return [images.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]


def sgd(learning_rate):
    """Plain gradient descent: a step against the gradient."""
    return lambda gradient, memory: learning_rate * gradient


def momentum(learning_rate, kept=0.9):
    """Gradient descent that keeps most of its speed from step to step."""

    def step(gradient, memory):
        memory["speed"] = kept * memory.get("speed", 0) + learning_rate * gradient
        return memory["speed"]

    return step


def adam(learning_rate, kept=0.9, kept_squares=0.999):
    """Steps of a like size for every weight, however large its gradient."""

    def step(gradient, memory):
        memory["count"] = memory.get("count", 0) + 1
        memory["mean"] = kept * memory.get("mean", 0) + (1 - kept) * gradient
        memory["squares"] = kept_squares * memory.get("squares", 0) + (1 - kept_squares) * gradient**2
        mean = memory["mean"] / (1 - kept ** memory["count"])
        squares = memory["squares"] / (1 - kept_squares ** memory["count"])
        return learning_rate * mean / (np.sqrt(squares) + 1e-8)

    return step


OPTIMIZERS = {"sgd": sgd, "momentum": momentum, "adam": adam}


def evaluate(network, images, labels):
    """Returns accuracy and loss; a loss of infinity where nothing is left to train."""
    hidden, output = network.forward(images)
    if not hidden.any():
        # Every unit is off for every image: its gradient is zero and stays so.
        return 0.0, np.inf
    loss = -np.log(output[np.arange(len(labels)), labels] + 1e-12).mean()
    return (output.argmax(axis=1) == labels).mean(), loss


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learning_rate", type=float, default=0.001)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=128, help="units of the hidden layer")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="momentum")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--metrics", type=pathlib.Path, default="/tmp/mnist.log")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path(__file__).with_name("digits.csv.gz"))
    arguments = parser.parse_args()

    images, labels, test_images, test_labels = load_digits(arguments.data)
    images, labels = shifted_copies(images, labels)
    random = np.random.default_rng(1)
    network = Network(random, images.shape[1], arguments.hidden, 10)
    step = OPTIMIZERS[arguments.optimizer](arguments.learning_rate)
    memories = [{} for _ in network.weights]
    print(f"learning_rate={arguments.learning_rate} batch_size={arguments.batch_size} images={len(labels)}", flush=True)

    with open(arguments.metrics, "a", encoding="utf-8") as metrics:
        for epoch in range(1, arguments.epochs + 1):
            order = random.permutation(len(labels))
            for start in range(0, len(order), arguments.batch_size):
                batch = order[start : start + arguments.batch_size]
                gradients = network.gradients(images[batch], labels[batch])
                for weight, gradient, memory in zip(network.weights, gradients, memories):
                    weight -= step(gradient, memory)
            accuracy, loss = evaluate(network, test_images, test_labels)
            if not np.isfinite(loss):
                raise SystemExit(f"epoch {epoch}: the network is dead, no hidden unit answers; the steps were too large")
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            # Fixed-point on purpose: an exponent (1e-05) is cut by many metric filters.
            for name, value in (("accuracy", accuracy), ("loss", loss)):
                metrics.write(f"{now} {{metricName: {name}, metricValue: {value:.6f}}}\n")
            metrics.flush()
            print(f"epoch {epoch}/{arguments.epochs} accuracy={accuracy:.4f} loss={loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
