"""Soft labels, their relaxed size and its gradients, hard labels: float64 NumPy, loops where they read best; slow.

Source: entropy-constrained training, arXiv:1812.07520, its parametrisation reconstructed (see the page of the project).
"""

import itertools
import math

import numpy as np


def soft_assign(latent, centroids, beta):
    """P[i, k], the softmax over k of -(beta / 2) (v_i - omega_k)^2."""
    rows = []
    for v in np.asarray(latent, np.float64).reshape(-1):
        logits = [-(beta / 2) * (v - w) ** 2 for w in centroids]
        highest = max(logits)
        powers = [math.exp(logit - highest) for logit in logits]
        rows.append([power / sum(powers) for power in powers])
    return np.array(rows)


def shannon_bits(shares):
    """H in bits, 0 log 0 = 0."""
    return -sum(p * math.log2(p) for p in shares if p > 0)


def relaxed_bits(soft):
    """n H of the mean row."""
    return len(soft) * shannon_bits(soft.mean(axis=0))


def conditional_bits(soft, zero):
    """Sum over contexts s of N_s H(mean row in s); s: the probability that the row before is the zero."""
    before = np.concatenate([[1.0], soft[:-1, zero]])
    total = 0.0
    for weight in (before, 1 - before):
        counts = weight @ soft
        if counts.sum() > 0:
            total += counts.sum() * shannon_bits(counts / counts.sum())
    return total


def gradient_by_probability(soft):
    """Fact (b): dB / dP_ik = -log2 Pbar_k - 1 / ln 2, the same for every i."""
    return -np.log2(soft.mean(axis=0)) - 1 / math.log(2)


def gradient_by_logits(soft):
    """Fact (c): dB / dtheta_ik = P_ik (c_k - sum_j P_ij c_j)."""
    price = -np.log2(soft.mean(axis=0))
    return soft * (price - (soft @ price)[:, None])


def gradient_by_latent(latent, centroids, beta):
    """Fact (d): dB / dv_i = beta sum_k P_ik c_k (omega_k - nu_i)."""
    soft = soft_assign(latent, centroids, beta)
    price, mean = -np.log2(soft.mean(axis=0)), soft @ np.asarray(centroids)
    return np.array(
        [beta * sum(soft[i] * price * (np.asarray(centroids) - mean[i])) for i in range(len(soft))]
    ).reshape(np.shape(latent))


def cost(weights, labels, centroids, shares, rate_weight):
    """Squared errors and rate_weight bits a weight, summed; infinite where a label has no share."""
    total = 0.0
    for w, label in zip(weights, labels, strict=True):
        if shares[label] == 0:
            return math.inf
        total += (w - centroids[label]) ** 2 - rate_weight * math.log2(shares[label])
    return total


def best_labels_cost(weights, centroids, shares, rate_weight):
    """The least cost over all label vectors."""
    every = itertools.product(range(len(centroids)), repeat=len(weights))
    return min(cost(weights, labels, centroids, shares, rate_weight) for labels in every)
