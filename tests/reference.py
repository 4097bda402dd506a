"""The method's mathematics in float64 NumPy, by plain loops: what the TensorFlow code is tested against.

Equation numbers are those of Li, Tong and Yang (NeurIPS 2023). Scores and labels are [B, C] unless said
otherwise, a NaN label is unknown, and `row` is a positive's place in its task's table (-1: not an anchor).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Function = Callable[[ArrayLike], Array]
DIVERGENCES = ("kl", "reverse_kl", "js")


# ---------------------------------------------------------------- scalars


def sigmoid(h: ArrayLike) -> Array:
    """1 / (1 + e^-h), exponentiating only numbers that are not positive."""
    h = np.asarray(h, np.float64)
    small = np.exp(-np.abs(h))
    return np.where(h >= 0, 1.0, small) / (1.0 + small)


def softplus(h: ArrayLike) -> Array:
    """log(1 + e^h), so that log sigmoid(h) = -softplus(-h)."""
    h = np.asarray(h, np.float64)
    return np.maximum(h, 0.0) + np.log1p(np.exp(-np.abs(h)))


def log_sum_exp(values: Sequence[float] | Array) -> float:
    """log of the sum of e^v, with the largest v taken out."""
    top = max(values)
    return float(top + np.log(sum(np.exp(v - top) for v in values)))


def score_function(name: str) -> tuple[Function, Function]:
    """The score s(h) a term sees, and its derivative s'(h)."""
    functions: dict[str, tuple[Function, Function]] = {
        "identity": (lambda h: np.array(h, np.float64), lambda h: np.ones_like(h, np.float64)),
        "sigmoid": (sigmoid, lambda h: sigmoid(h) * sigmoid(-np.asarray(h))),
        # 1 - tanh(h)^2 without the cancellation
        "tanh": (np.tanh, lambda h: 4.0 * sigmoid(2.0 * np.asarray(h)) * sigmoid(-2.0 * np.asarray(h))),
    }
    return functions[name]


def known_places(label: Array, candidate: Array | None = None) -> list[int]:
    """The examples whose label for this one task is known, and which are candidates."""
    return [j for j in range(len(label)) if not np.isnan(label[j]) and (candidate is None or candidate[j])]


# ---------------------------------------------------------------- weights of the candidates


def list_weights(
    label: Array,
    prevalence: str = "batch",
    examples: int | None = None,
    positives: int | None = None,
    candidate: Array | None = None,
) -> Array:
    """w[j] of one task in (11), which sum to 1."""
    known = known_places(label, candidate)
    weight = np.zeros(len(label))
    for j in known:
        weight[j] = 1.0 / len(known)
        if prevalence == "dataset":
            assert examples is not None
            assert positives is not None
            share = positives / examples if label[j] == 1 else 1.0 - positives / examples
            weight[j] = share / sum(label[i] == label[j] for i in known)
    return weight / weight.sum()  # differs from 1 only where a group is empty


def candidate_weights(
    label: Array,
    row: NDArray[np.int64],
    prevalence: str = "batch",
    examples: int | None = None,
    positives: int | None = None,
    candidate: Array | None = None,
) -> Array:
    """w[a, j] of one task in (2) and (3): one line per anchor, in batch order; every line sums to 1."""
    anchors, known = [a for a in range(len(row)) if row[a] >= 0], known_places(label, candidate)
    weight = np.zeros((len(anchors), len(label)))
    if prevalence == "batch":
        weight[:, known] = 1.0 / max(len(known), 1)
        return weight
    assert prevalence == "dataset"
    assert examples is not None
    assert positives is not None
    for i, a in enumerate(anchors):
        others = [j for j in known if label[j] == 1 and j != a]
        negatives = [j for j in known if label[j] == 0]
        weight[i, a] = 1.0 / examples
        for j in others:
            weight[i, j] = (positives - 1) / examples / len(others)
        for j in negatives:
            weight[i, j] = (examples - positives) / examples / len(negatives)
        weight[i] /= weight[i].sum()  # differs from 1 only where a group is empty
    return weight


# ---------------------------------------------------------------- AP term


class RowTable:
    """The moving averages (u1, u2) of (2): one dict per task, from a row to its pair."""

    def __init__(
        self,
        positives: Sequence[int],
        margin: float,
        examples: int | Sequence[int] | None,
        gamma: float,
        start: str = "first_visit",
    ) -> None:
        assert start in ("first_visit", "zero")
        self.positives, self.gamma, self.start = list(positives), gamma, start
        self.examples = [examples] * len(self.positives) if isinstance(examples, int | None) else list(examples)
        self.floor = [margin**2 * 2.0**-23 if n is None else margin**2 / n for n in self.examples]
        self.u: list[dict[int, tuple[float, float]]] = [{} for _ in positives]

    def update(self, task: int, rows: Sequence[int], e1: ArrayLike, e2: ArrayLike) -> tuple[Array, Array]:
        """Estimators (2): move every drawn row once, by the mean of its estimates; u1 and u2 per anchor."""
        for row in dict.fromkeys(rows):
            assert 0 <= row < self.positives[task], f"row {row} of task {task} is out of range"
            places = [i for i, other in enumerate(rows) if other == row]
            pair = []
            for which, estimates in enumerate((np.asarray(e1), np.asarray(e2))):
                estimate = sum(float(estimates[i]) for i in places) / len(places)
                if row in self.u[task] or self.start == "zero":
                    old = self.u[task].get(row, (0.0, 0.0))[which]
                    estimate = (1.0 - self.gamma) * old + self.gamma * estimate
                pair.append(max(estimate, self.floor[task]))
            self.u[task][row] = (pair[0], pair[1])
        pairs = np.array([self.u[task][row] for row in rows]).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]


def pair_loss(s_anchor: float, s_candidate: float, margin: float) -> float:
    """Squared hinge of (1): max(m - (s_a - s_j), 0)^2."""
    return max(margin - (s_anchor - s_candidate), 0.0) ** 2


def ap_task(
    s: Array, label: Array, row: NDArray[np.int64], weight: Array, table: RowTable, task: int, margin: float
) -> tuple[float, Array]:
    """Value (1) and carrier gradient (3) by the scores s of one task that has an anchor."""
    anchors, known = [a for a in range(len(row)) if row[a] >= 0], known_places(label)  # others weigh nothing
    e1, e2 = np.zeros(len(anchors)), np.zeros(len(anchors))
    for i, a in enumerate(anchors):
        for j in known:
            e1[i] += weight[i, j] * pair_loss(s[a], s[j], margin) * label[j]
            e2[i] += weight[i, j] * pair_loss(s[a], s[j], margin)
    u1, u2 = table.update(task, [int(row[a]) for a in anchors], e1, e2)
    value, gradient = 0.0, np.zeros(len(s))
    for i, a in enumerate(anchors):
        value -= u1[i] / u2[i] / len(anchors)
        for j in known:
            k = (u1[i] - u2[i] * label[j]) / u2[i] ** 2
            slope = 2.0 * max(margin - (s[a] - s[j]), 0.0)  # of the pair loss, by s_j; by s_a it is -slope
            gradient[j] += weight[i, j] * k * slope / len(anchors)
            gradient[a] -= weight[i, j] * k * slope / len(anchors)
    return value, gradient


def ap_term(
    h: ArrayLike,
    label: ArrayLike,
    row: ArrayLike,
    table: RowTable,
    margin: float = 0.6,
    score: str = "sigmoid",
    prevalence: str = "batch",
    candidate: Array | None = None,
) -> tuple[float, Array]:
    """P of (1) and dP/dh by (3), a mean over the tasks with an anchor."""
    h, label, row = np.asarray(h, np.float64), np.asarray(label, np.float64), np.asarray(row, np.int64)
    f, slope = score_function(score)
    tasks = [t for t in range(h.shape[1]) if any(row[:, t] >= 0)]
    value, gradient = 0.0, np.zeros_like(h)
    for t in tasks:
        counts = table.examples[t], table.positives[t]
        weight = candidate_weights(label[:, t], row[:, t], prevalence, *counts, candidate)
        part, by_score = ap_task(f(h[:, t]), label[:, t], row[:, t], weight, table, t, margin)
        value += part / len(tasks)
        gradient[:, t] = by_score * slope(h[:, t]) / len(tasks)
    return value, gradient


def exact_ap_surrogate(h: ArrayLike, label: ArrayLike, margin: float = 0.6, score: str = "sigmoid") -> float:
    """P of (1) over all data, a mean over the tasks that have a positive."""
    h, label = np.asarray(h, np.float64), np.asarray(label, np.float64)
    s, values = score_function(score)[0](h), []
    for t in range(h.shape[1]):
        known, ratios = known_places(label[:, t]), []
        for a in [a for a in known if label[a, t] == 1]:
            above = sum(pair_loss(s[a, t], s[j, t], margin) for j in known if label[j, t] == 1)
            ratios.append(above / sum(pair_loss(s[a, t], s[j, t], margin) for j in known))
        if ratios:
            values.append(-sum(ratios) / len(ratios))
    return sum(values) / max(len(values), 1)


# ---------------------------------------------------------------- listwise term


def log_blend(old: float, new: float, gamma: float) -> float:
    """log((1 - gamma) e^old + gamma e^new): a moving average kept as its logarithm; old may be -inf."""
    if gamma == 1.0 or old == -np.inf:
        return float(np.log(gamma) + new)
    return log_sum_exp([float(np.log(1.0 - gamma) + old), float(np.log(gamma) + new)])


def log_to_mean(log_p: Array, log_q: Array) -> Array:
    """log(2p / (p + q)), element by element."""
    return np.array([np.log(2.0) + a - log_sum_exp([a, b]) for a, b in zip(log_p, log_q, strict=True)])


class ListwiseState:
    """Per task: log u2, log u3 and r = u1/u2 of (11), and the two averages k1, k2 of Jensen-Shannon."""

    def __init__(self, tasks: int, gamma: float, start: str = "first_visit") -> None:
        assert start in ("first_visit", "zero")
        self.gamma, self.start, self.visited = gamma, start, [False] * tasks
        self.log_u2, self.log_u3 = [-np.inf] * tasks, [-np.inf] * tasks
        self.r, self.k1, self.k2 = [0.0] * tasks, [0.0] * tasks, [0.0] * tasks

    def update(self, task: int, s: Array, s_adv: Array, weight: Array) -> tuple[Array, Array]:
        """Estimators (11) of one task's candidates; log p and log q by the new u2, u3."""
        gamma = 1.0 if self.start == "first_visit" and not self.visited[task] else self.gamma
        self.visited[task] = True
        log_w, old = np.log(weight), self.log_u2[task]
        log_g2, log_g3 = log_sum_exp(log_w + s), log_sum_exp(log_w + s_adv)
        self.log_u2[task] = log_blend(old, log_g2, gamma)
        self.log_u3[task] = log_blend(self.log_u3[task], log_g3, gamma)

        ratio = sum(np.exp(log_w + s - log_g2) * (s - s_adv))  # g1 / g2
        alpha = 0.0 if gamma == 1.0 else (1.0 - gamma) * np.exp(old - self.log_u2[task])
        self.r[task] = float(alpha * self.r[task] + (1.0 - alpha) * ratio)

        log_p, log_q = log_w + s - self.log_u2[task], log_w + s_adv - self.log_u3[task]
        mean_p = sum(np.exp(log_p) * log_to_mean(log_p, log_q))
        mean_q = sum(np.exp(log_q) * log_to_mean(log_q, log_p))
        self.k1[task] = float((1.0 - gamma) * self.k1[task] + gamma * mean_p)
        self.k2[task] = float((1.0 - gamma) * self.k2[task] + gamma * mean_q)
        return log_p, log_q


def listwise_task(
    s: Array, s_adv: Array, weight: Array, state: ListwiseState, task: int, divergence: str
) -> tuple[float, Array, Array]:
    """Value (8) and gradient (12) of one task by s and s'. The reverse KL keeps s' in u2 and s in u3."""
    assert divergence in DIVERGENCES
    if divergence == "reverse_kl":
        value, by_adv, by_clean = listwise_task(s_adv, s, weight, state, task, "kl")
        return value, by_clean, by_adv
    log_p, log_q = state.update(task, s, s_adv, weight)
    p, q, r, k1, k2 = np.exp(log_p), np.exp(log_q), state.r[task], state.k1[task], state.k2[task]
    if divergence == "kl":
        return r - state.log_u2[task] + state.log_u3[task], p * (s - s_adv - r), q - p
    by_clean = 0.5 * p * (log_to_mean(log_p, log_q) - k1)
    by_adv = 0.5 * q * (log_to_mean(log_q, log_p) - k2)
    return 0.5 * (k1 + k2), by_clean, by_adv


def listwise_term(
    h: ArrayLike,
    h_adv: ArrayLike,
    label: ArrayLike,
    state: ListwiseState,
    score: str = "tanh",
    temperature: float = 1.0,
    divergence: str = "kl",
    prevalence: str = "batch",
    examples: Sequence[int] = (),
    positives: Sequence[int] = (),
    candidate: Array | None = None,
) -> tuple[float, Array, Array]:
    """R of (8), dR/dh and dR/dh' by (12): over the candidates, then a mean over the tasks that have any."""
    h, h_adv, label = (np.asarray(x, np.float64) for x in (h, h_adv, label))
    f, slope = score_function(score)
    tasks = [t for t in range(h.shape[1]) if known_places(label[:, t], candidate)]
    value, dh, dh_adv = 0.0, np.zeros_like(h), np.zeros_like(h)
    for t in tasks:
        counts = (examples[t], positives[t]) if prevalence == "dataset" else ()
        weight = list_weights(label[:, t], prevalence, *counts, candidate=candidate)
        known = np.flatnonzero(weight)
        clean, adv = h[known, t], h_adv[known, t]
        s, s_adv = f(clean) / temperature, f(adv) / temperature
        part, ds, ds_adv = listwise_task(s, s_adv, weight[known], state, t, divergence)
        value += part / len(tasks)
        dh[known, t] = ds * slope(clean) / temperature / len(tasks)
        dh_adv[known, t] = ds_adv * slope(adv) / temperature / len(tasks)
    return value, dh, dh_adv


def exact_listwise(
    h: ArrayLike, h_adv: ArrayLike, divergence: str = "kl", score: str = "tanh", temperature: float = 1.0
) -> float:
    """R of (8) between the top-one probabilities of all data; h is [n], or [n, C] for a mean over tasks."""
    assert divergence in DIVERGENCES
    s, s_adv = (score_function(score)[0](np.asarray(x, np.float64)) / temperature for x in (h, h_adv))
    if s.ndim == 2:
        columns = range(s.shape[1])
        parts = [exact_listwise(s[:, t], s_adv[:, t], divergence, "identity") for t in columns]
        return sum(parts) / len(parts)
    log_p, log_q = s - log_sum_exp(s), s_adv - log_sum_exp(s_adv)
    total = 0.0
    for a, b in zip(log_p, log_q, strict=True):
        log_m = log_sum_exp([a, b]) - np.log(2.0)
        total += {
            "kl": np.exp(a) * (a - b),
            "reverse_kl": np.exp(b) * (b - a),
            "js": 0.5 * np.exp(a) * (a - log_m) + 0.5 * np.exp(b) * (b - log_m),
        }[divergence]
    return float(total)


# ---------------------------------------------------------------- pointwise terms


def bernoulli_kl(h: Array, h_adv: Array) -> tuple[Array, Array, Array]:
    """KL(Bernoulli(sigmoid(h)) || Bernoulli(sigmoid(h'))), elementwise, and its slopes by h and h'."""
    p, not_p = sigmoid(h), sigmoid(-h)
    value = p * (softplus(-h_adv) - softplus(-h)) + not_p * (softplus(h_adv) - softplus(h))
    # q - p = (1 - p) - (1 - q): subtract the smaller numbers
    by_adv = np.where(h + h_adv > 0, sigmoid(-h) - sigmoid(-h_adv), sigmoid(h_adv) - sigmoid(h))
    return value, p * not_p * (h - h_adv), by_adv


def bernoulli_js(h: Array, h_adv: Array) -> tuple[Array, Array, Array]:
    """Jensen-Shannon of the two Bernoullis, elementwise, and its slopes by h and h'."""
    log_one = np.logaddexp(-softplus(-h), -softplus(-h_adv)) - np.log(2.0)  # of the mean (p + q) / 2
    log_zero = np.logaddexp(-softplus(h), -softplus(h_adv)) - np.log(2.0)
    value, slopes = np.zeros_like(h), []
    for x in (h, h_adv):
        one, zero = -softplus(-x) - log_one, -softplus(x) - log_zero
        value = value + 0.5 * (sigmoid(x) * one + sigmoid(-x) * zero)
        slopes.append(0.5 * sigmoid(x) * sigmoid(-x) * (one - zero))
    return value, slopes[0], slopes[1]


def pointwise_divergence(h: ArrayLike, h_adv: ArrayLike, divergence: str = "kl") -> tuple[Array, Array, Array]:
    """L of (5) for each logit and its slopes by h and h'."""
    assert divergence in DIVERGENCES
    h, h_adv = np.asarray(h, np.float64), np.asarray(h_adv, np.float64)
    if divergence == "reverse_kl":
        value, by_adv, by_clean = bernoulli_kl(h_adv, h)
        return value, by_clean, by_adv
    return bernoulli_kl(h, h_adv) if divergence == "kl" else bernoulli_js(h, h_adv)


def mean_weights(label: Array, candidate: Array | None = None) -> Array:
    """What an entry counts in a mean within each task's candidates, then over the tasks that have any."""
    weight = np.zeros_like(label)
    tasks = [t for t in range(label.shape[1]) if known_places(label[:, t], candidate)]
    for t in tasks:
        known = known_places(label[:, t], candidate)
        weight[known, t] = 1.0 / len(known) / len(tasks)
    return weight


def pointwise_term(
    h: ArrayLike, h_adv: ArrayLike, label: ArrayLike, divergence: str = "kl", candidate: Array | None = None
) -> tuple[float, Array, Array]:
    """Mean of L, the regulariser of (7) and (10), with dL/dh and dL/dh'."""
    weight = mean_weights(np.asarray(label, np.float64), candidate)
    value, by_clean, by_adv = pointwise_divergence(h, h_adv, divergence)
    return float(np.sum(weight * value)), weight * by_clean, weight * by_adv


def cross_entropy_term(h: ArrayLike, label: ArrayLike, candidate: Array | None = None) -> tuple[float, Array]:
    """Mean cross-entropy, the loss of (4), from logits, and its gradient."""
    h, label = np.asarray(h, np.float64), np.asarray(label, np.float64)
    weight = mean_weights(label, candidate)
    value = np.where(label == 1, softplus(-h), softplus(h))
    slope = np.where(label == 1, -sigmoid(-h), sigmoid(h))
    return float(np.sum(weight * value)), weight * slope


def mart_term(
    h: ArrayLike, h_adv: ArrayLike, label: ArrayLike, candidate: Array | None = None
) -> tuple[float, Array, Array]:
    """MART's regulariser: mean(|y - sigmoid(h)| * KL), the weight differentiated too."""
    h, label = np.asarray(h, np.float64), np.asarray(label, np.float64)
    weight = mean_weights(label, candidate)
    kl, kl_clean, kl_adv = pointwise_divergence(h, h_adv, "kl")
    wrong = np.where(label == 1, sigmoid(-h), sigmoid(h))  # |y - sigmoid(h)|
    wrong_slope = np.where(label == 1, -1.0, 1.0) * sigmoid(h) * sigmoid(-h)
    value = float(np.sum(weight * wrong * kl))
    return value, weight * (wrong_slope * kl + wrong * kl_clean), weight * wrong * kl_adv


# ---------------------------------------------------------------- metric and attack


def average_precision(scores: ArrayLike, label: ArrayLike) -> float:
    """Sum over distinct thresholds of (recall gained) * precision, for one task; 0 without positives."""
    scores, label = np.asarray(scores, np.float64), np.asarray(label, np.float64)
    known = known_places(label)
    positives = sum(label[j] == 1 for j in known)
    total, found_before = 0.0, 0
    for threshold in sorted({float(scores[j]) for j in known}, reverse=True):
        retrieved = [j for j in known if scores[j] >= threshold]
        found = sum(label[j] == 1 for j in retrieved)
        total += (found - found_before) / max(positives, 1) * found / len(retrieved)
        found_before = found
    return float(total)


def pgd_linear(
    x: ArrayLike,
    weight: ArrayLike,
    label: ArrayLike,
    eps: float,
    step_size: float,
    steps: int,
    start: ArrayLike,
) -> Array:
    """Last iterate of sign ascent on -(2y - 1)(x @ weight); `start` is delta as drawn, x is [B, D]."""
    away = 1.0 - 2.0 * np.asarray(label, np.float64)[:, None]
    return pgd_of_scores(x, np.asarray(weight)[:, None], lambda h: away, eps, step_size, steps, start)


def pgd_of_scores(
    x: ArrayLike,
    weight: ArrayLike,
    slopes: Callable[[Array], Array],
    eps: float,
    step_size: float,
    steps: int,
    start: ArrayLike,
) -> Array:
    """Last iterate of sign ascent on a function of the scores x @ weight, [B, C], that has these slopes there."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    result = x + np.asarray(start, np.float64)
    for _ in range(steps):
        slope = slopes(result @ weight)
        for i in range(len(x)):
            result[i] += step_size * np.sign(weight @ slope[i])
            result[i] = np.minimum(np.maximum(result[i], x[i] - eps), x[i] + eps)  # the ball
            result[i] = np.minimum(np.maximum(result[i], 0.0), 1.0)  # the box
    return result


def pgd_linear_corner(x: ArrayLike, weight: ArrayLike, label: ArrayLike, eps: float) -> Array:
    """Where that ascent ends in [0, 1] after enough steps (a pixel of zero weight: unmoved)."""
    x, weight, label = (np.asarray(v, np.float64) for v in (x, weight, label))
    return np.clip(x - eps * (2.0 * label[:, None] - 1.0) * np.sign(weight), 0.0, 1.0)
