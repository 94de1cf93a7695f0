"""Losses against slow, literal derivations of their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from mmmtl.models.losses import BalancedCrossEntropy, CrossEntropy, MaskedL1, MaskedL2, WeightedBinaryCrossEntropy


@pytest.fixture
def two_class():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 2, 3, 4), torch.randint(0, 2, (2, 3, 4))
    label[0, 0] = 255
    return logits, label


def pixels(label):
    return [
        (b, y, x)
        for b in range(label.shape[0])
        for y in range(label.shape[1])
        for x in range(label.shape[2])
        if label[b, y, x] != 255
    ]


def test_cross_entropy(two_class):
    logits, label = two_class
    known = pixels(label)
    nll = [-math.log(torch.softmax(logits[b, :, y, x], 0)[label[b, y, x]]) for b, y, x in known]
    assert CrossEntropy()(logits, label).item() == pytest.approx(sum(nll) / len(known), rel=1e-5)
    weighted = [n * (1.0, 3.0)[label[i]] for n, i in zip(nll, known)]
    assert CrossEntropy([1.0, 3.0])(logits, label).item() == pytest.approx(sum(weighted) / len(known), rel=1e-5)


def test_balanced_cross_entropy(two_class):
    logits, label = two_class
    known = pixels(label)
    share = sum(label[i] == 0 for i in known).item() / len(known)
    total = sum(
        -math.log(torch.softmax(logits[b, :, y, x], 0)[label[b, y, x]]) * (share if label[b, y, x] else 1 - share)
        for b, y, x in known
    )
    assert BalancedCrossEntropy()(logits, label).item() == pytest.approx(total / len(known), rel=1e-5)


def test_weighted_binary_cross_entropy(two_class):
    logits, label = two_class[0][:, :1], two_class[1]
    known, w = pixels(label), 0.9
    total = 0.0
    for b, y, x in known:
        p = 1 / (1 + math.exp(-logits[b, 0, y, x]))
        total += -w * math.log(p) if label[b, y, x] else -(1 - w) * math.log(1 - p)
    assert WeightedBinaryCrossEntropy(w)(logits, label).item() == pytest.approx(total / len(known), rel=1e-5)


def test_masked_l1_divides_by_pixels_and_normalises():
    torch.manual_seed(0)
    prediction, label = torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    label[0, :, 0, 0] = math.nan
    expected = sum((prediction[0, :, y, x] - label[0, :, y, x]).abs().sum() for y, x in ((0, 1), (1, 0), (1, 1))) / 3
    torch.testing.assert_close(MaskedL1()(prediction, label), expected)
    unit = prediction / prediction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(MaskedL1(normalize=True)(prediction * 5, label), MaskedL1()(unit, label))


def test_masked_l2_sums_squares_over_known_pixels():
    label = torch.tensor([[[[1.0, math.nan], [4.0, 0.0]]], [[[2.0, 2.0], [2.0, math.nan]]]])
    prediction = torch.full_like(label, 1.0).requires_grad_()
    assert MaskedL2()(prediction, label).item() == pytest.approx((0 + 9 + 1 + 1 + 1 + 1) / 6)
    assert MaskedL2()(prediction, label, per_sample=True).tolist() == pytest.approx([10 / 3, 1.0])
    MaskedL2()(prediction, label).backward()
    assert torch.equal(prediction.grad[0, 0, 0], torch.zeros(2)) and prediction.grad[0, 0, 1, 0] == pytest.approx(-1.0)


def test_per_sample_weights_of_the_balanced_loss_are_each_sample_s_own(two_class):
    logits, label = two_class
    each = BalancedCrossEntropy()(logits, label, per_sample=True)
    assert each.shape == (2,)
    assert each.mean() != pytest.approx(BalancedCrossEntropy()(logits, label).item(), rel=1e-6)
