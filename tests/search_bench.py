"""Lays the sandbox's search algorithms beside the samplers a user would pick instead, and katlab's
importances beside Optuna's.

The same functions as in src/suggestion/tests/common/mod.rs, the same number of trials and of seeds;
figures are the median best value above the optimum, smaller is better. A ratio below 1 means that katlab
found the better one. With noise a search is told the value and a normal error, and its best value is what
the trial that measured best is really worth. "wins" is how often one of katlab's runs beats one of the
peer's (a draw is half): near 50 % the two are alike, whatever the ratio of the medians says. Numbers are
for reading, tests are for judging.

    search_bench.py target/release/examples/quality [TRIALS] [PARALLEL] [SEEDS] [ALGORITHM...]
    search_bench.py target/release/examples/importance

`make bench` runs it. The peers are pinned in requirements-search.txt.
"""

import json
import math
import random
import statistics
import subprocess
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

optuna.logging.set_verbosity(optuna.logging.ERROR)


def doubles(count, low, high):
    return {f"x{index}": FloatDistribution(low, high) for index in range(count)}


def branin(x):
    a, b = x.values()
    bowl = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10 - 0.397887


ALPHA = [1.0, 1.2, 3.0, 3.2]
A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
P = [
    [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
    [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
    [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
    [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
]


def hartmann(x):
    x = list(x.values())
    terms = (alpha * math.exp(-sum(a * (v - p) ** 2 for a, v, p in zip(A[i], x, P[i]))) for i, alpha in enumerate(ALPHA))
    return 3.32237 - sum(terms)


def rosenbrock(x):
    x = list(x.values())
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:]))


def ackley(x):
    x = list(x.values())
    squares = sum(v * v for v in x) / len(x)
    waves = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return 20 + math.e - 20 * math.exp(-0.2 * math.sqrt(squares)) - math.exp(waves)


def mixed(x):
    shift, loss = {"adam": (-3.0, 0.0), "rmsprop": (-2.5, 0.3), "sgd": (-1.0, 0.1)}.get(x["optimizer"], (-1.5, 1.0))
    batch = abs(math.log2(float(x["batch"])) - 6) * 0.15
    rate = (math.log10(x["lr"]) - shift) ** 2
    return loss + rate + ((x["layers"] - 7) / 4) ** 2 + 3 * (x["dropout"] - 0.35) ** 2 + batch


# For each its space, itself, and the deviation of the noise.
FUNCTIONS = {
    "Branin": ({"x0": FloatDistribution(-5, 10), "x1": FloatDistribution(0, 15)}, branin, 0.5),
    "Hartmann-6": (doubles(6, 0, 1), hartmann, 0.2),
    "Rosenbrock-4": (doubles(4, -2, 2), rosenbrock, 2.0),
    "Ackley-5": (doubles(5, -20, 30), ackley, 0.5),
    "mixed": (
        {
            "lr": FloatDistribution(1e-5, 1, log=True),
            "layers": IntDistribution(1, 12),
            "dropout": FloatDistribution(0, 0.9, step=0.05),
            "batch": CategoricalDistribution(["16", "32", "64", "128", "256"]),
            "optimizer": CategoricalDistribution(["sgd", "adam", "rmsprop", "ftrl"]),
        },
        mixed,
        0.1,
    ),
}


class Measured:
    """What a run measured: values with noise, and what they are without."""

    def __init__(self, function, noise, seed):
        self.function, self.noise, self.chance = function, noise, random.Random(seed)
        self.pairs = []

    def __call__(self, params):
        value = self.function(params)
        self.pairs.append((value + self.chance.gauss(0, self.noise), value))
        return self.pairs[-1][0]

    def best(self):
        return min(self.pairs)[1]


def with_optuna(sampler):
    def best(space, measure, trials, parallel, seed):
        study = optuna.create_study(sampler=sampler(seed))
        while len(measure.pairs) < trials:
            asked = [study.ask(space) for _ in range(min(parallel, trials - len(measure.pairs)))]
            for trial in asked:
                study.tell(trial, measure(trial.params))

    return best


def with_skopt(space, measure, trials, parallel, seed):
    import skopt
    from skopt.space import Categorical, Integer, Real

    def dimension(distribution):
        if isinstance(distribution, CategoricalDistribution):
            return Categorical(distribution.choices)
        if isinstance(distribution, IntDistribution):
            return Integer(distribution.low, distribution.high)
        return Real(distribution.low, distribution.high, "log-uniform" if distribution.log else "uniform")

    optimizer = skopt.Optimizer([dimension(d) for d in space.values()], random_state=seed)
    while len(measure.pairs) < trials:
        count = min(parallel, trials - len(measure.pairs))
        asked = [optimizer.ask()] if count == 1 else optimizer.ask(n_points=count)
        optimizer.tell(asked, [measure(dict(zip(space, point))) for point in asked])


PEERS = {
    "random": ("optuna Random", with_optuna(lambda seed: optuna.samplers.RandomSampler(seed=seed))),
    "sobol": ("optuna QMC", with_optuna(lambda seed: optuna.samplers.QMCSampler(seed=seed))),
    "tpe": ("optuna TPE", with_optuna(lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=False, constant_liar=True))),
    "multivariate-tpe": (
        "optuna TPE multivariate",
        with_optuna(lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)),
    ),
    "cmaes": (
        "optuna CmaEs",
        with_optuna(lambda seed: optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=0, warn_independent_sampling=False)),
    ),
    "bayesianoptimization": ("skopt GP", with_skopt),
}


def parameter(name, distribution):
    """A dimension as Katib writes it."""
    if isinstance(distribution, CategoricalDistribution):
        return {"name": name, "parameterType": "categorical", "feasibleSpace": {"list": list(distribution.choices)}}
    space = {"min": str(distribution.low), "max": str(distribution.high)}
    if distribution.step:
        space["step"] = str(distribution.step)
    if distribution.log:
        space["distribution"] = "logUniform"
    kind = "int" if isinstance(distribution, IntDistribution) else "double"
    return {"name": name, "parameterType": kind, "feasibleSpace": space}


def importances(binary):
    """The same random trials by both: PED-ANOVA here and there, and Optuna's fANOVA for its time."""
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    cases = [(label, count, seed) for label in ("Hartmann-6", "mixed") for count in (100, 1000, 10000) for seed in (0, 1, 2)]
    for label, count, seed in cases:
        space, function, _ = FUNCTIONS[label]
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        trials = []
        for _ in range(count):
            params = sampled.ask(space).params
            value = function(params)
            trials.append((params, value))
        study.add_trials([optuna.trial.create_trial(params=p, distributions=space, value=v) for p, v in trials])
        given = {
            "experiment": {"metadata": {"name": "bench"}, "spec": {
                "objective": {"type": "minimize", "objectiveMetricName": "loss",
                              "metricStrategies": [{"name": "loss", "value": "min"}]},
                "parameters": [parameter(name, distribution) for name, distribution in space.items()]}},
            "trials": [{
                "metadata": {"name": f"t{number:05}", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"parameterAssignments": [{"name": name, "value": str(v)} for name, v in params.items()]},
                "status": {"conditions": [{"type": "Succeeded", "status": "True"}],
                           "observation": {"metrics": [{"name": "loss", **dict.fromkeys(("min", "max", "latest"), repr(value))}]}},
            } for number, (params, value) in enumerate(trials)],
        }
        ours = json.loads(subprocess.run([binary], input=json.dumps(given), check=True, capture_output=True, text=True).stdout)
        start = time.perf_counter()
        theirs = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        spent = (time.perf_counter() - start) * 1000
        fanova = None
        if count <= 1000 and seed == 0:
            start = time.perf_counter()
            get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
            fanova = (time.perf_counter() - start) * 1000
        agreement = rank_agreement(ours["shares"], theirs)
        names = sorted(theirs, key=theirs.get, reverse=True)
        shares = ", ".join(f"{name} {ours['shares'].get(name, 0):.2f}/{theirs[name]:.2f}" for name in names[:3])
        beside = f", fANOVA {fanova:.0f} ms" if fanova else ""
        print(f"{label:13}{count:6} trials  ranks agree {agreement:+.2f}  {shares}  "
              f"{ours['milliseconds']:.1f} ms with its intervals beside {spent:.1f} ms{beside}", flush=True)


def rank_agreement(ours, theirs):
    """Spearman's correlation between two orders of the same names."""
    def ranks(shares):
        order = sorted(theirs, key=lambda name: shares.get(name, 0.0))
        return [order.index(name) for name in sorted(theirs)]

    one, other = ranks(ours), ranks(theirs)
    count = len(theirs)
    return 1 - 6 * sum((a - b) ** 2 for a, b in zip(one, other)) / (count * (count**2 - 1))


def distributions(binary):
    """Kolmogorov and Smirnov's test of what `random` draws: beside Optuna's draws, and, as it has no
    normal distributions, beside scipy's. Seeds are fixed, so the verdict is always the same."""
    from scipy import stats

    low, high, seeded = 0.001, 10.0, optuna.samplers.RandomSampler(seed=1)
    for line in map(json.loads, subprocess.run([binary, "draws"], check=True, capture_output=True, text=True).stdout.splitlines()):
        name, values = line["distribution"], line["values"]
        assert all(low <= value <= high for value in values), name
        is_log = name.startswith("log")
        if name.lower().endswith("uniform"):
            study, space = optuna.create_study(sampler=seeded), {"x": FloatDistribution(low, high, log=is_log)}
            peer, expected = "optuna Random", [study.ask(space).params["x"] for _ in range(2000)]
        else:
            start, end = (math.log(low), math.log(high)) if is_log else (low, high)
            values = [math.log(value) for value in values] if is_log else values
            peer, expected = "scipy truncnorm", stats.truncnorm(-3, 3, loc=(start + end) / 2, scale=(end - start) / 6).cdf
        chance = stats.ks_2samp(values, expected).pvalue if isinstance(expected, list) else stats.kstest(values, expected).pvalue
        print(f"draws of {name:11} as {peer:16} p {chance:.2f}", flush=True)
        assert chance > 0.01, name


def main():
    binary = sys.argv[1]
    if binary.endswith("importance"):
        return importances(binary)
    if not sys.argv[5:] or "random" in sys.argv[5:]:
        distributions(binary)
    trials, parallel, seeds = (int(text) for text in (sys.argv[2:5] + ["100", "1", "21"][len(sys.argv[2:5]) :]))
    command = [binary, str(trials), str(parallel), str(seeds), *sys.argv[5:]]
    ours = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"median best of {seeds} seeds after {trials} trials, {parallel} at a time")
    ratios = {}
    for line in map(json.loads, ours.splitlines()):
        name, label, noisy = line["algorithm"], line["function"], line["noisy"]
        if name not in PEERS:
            continue
        start = time.perf_counter()
        theirs = [peers_best(name, label, noisy, trials, parallel, seed) for seed in range(seeds)]
        spent = (time.perf_counter() - start) * 1000 / trials / seeds
        best, value = (statistics.median_high(values) for values in (line["best"], theirs))
        ratios.setdefault(name, []).append(best / value)
        cells = (f"{name:21}{label:13}{'noise' if noisy else '':6}", f"{best:10.4g}", f"{PEERS[name][0]:24}", f"{value:10.4g}",
                 f"ratio {best / value:6.2f}", f"wins {wins(line['best'], theirs):4.0%}")
        print("  ".join(cells), f"  {line['milliseconds']:.2f} ms beside {spent:.2f} ms per trial", flush=True)
    for name, found in ratios.items():
        better = sum(ratio < 1 for ratio in found)
        print(f"{name}: better on {better} of {len(found)}, greatest ratio {max(found):.2f}")


def peers_best(name, label, noisy, trials, parallel, seed):
    """The best value of one run of the peer's."""
    space, function, noise = FUNCTIONS[label]
    measure = Measured(function, noise if noisy else 0.0, seed)
    PEERS[name][1](space, measure, trials, parallel, seed)
    return measure.best()


def wins(ours, theirs):
    """The share of pairs of runs in which ours is the better one (Mann and Whitney's U)."""
    pairs = [(a < b) + (a == b) / 2 for a in ours for b in theirs]
    return sum(pairs) / len(pairs)


if __name__ == "__main__":
    main()
