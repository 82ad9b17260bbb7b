// AdamW: adaptive moments with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2).
#pragma once

#include <cmath>

#include "janusflow/simd/rows.hpp"

namespace janusflow {

/// The paper's settings of JanusFlow (arXiv 2411.07975, table of hyper-parameters); eps is torch's.
struct AdamWSettings {
  double beta1 = 0.9, beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;
};

/// What one step multiplies by, worked out in double once for all numbers of a tensor.
struct AdamWStep {
  float gradient_scale, keep, new_first, beta2, new_second, root_correction, eps, rate;

  /// `step` counts from 1. As torch.optim.AdamW (its single-tensor form) orders the operations.
  static AdamWStep at(const AdamWSettings& s, double learning_rate, Index step, double gradient_scale) {
    const double n = static_cast<double>(step);
    return {static_cast<float>(gradient_scale),
            static_cast<float>(1 - learning_rate * s.weight_decay),
            static_cast<float>(1 - s.beta1),
            static_cast<float>(s.beta2),
            static_cast<float>(1 - s.beta2),
            static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, n))),
            static_cast<float>(s.eps),
            static_cast<float>(learning_rate / (1 - std::pow(s.beta1, n)))};
  }
};

/// One step on n numbers: with g = scale * gradient,
///   value *= 1 - rate * decay;  first += (1 - beta1)(g - first);  second = beta2 second + (1 - beta2) g^2;
///   value -= rate / (1 - beta1^t) * first / (sqrt(second / (1 - beta2^t)) + eps).
/// In float32, within a few roundings of torch's step; gradients below 1e-22, whose squares are 0, move by rate / eps times the first moment.
inline void adamw(Index n, float* value, const float* gradient, float* first, float* second, const AdamWStep& s) {
  using simd::Batch;
  const Batch scale(s.gradient_scale), keep(s.keep), new_first(s.new_first), beta2(s.beta2), new_second(s.new_second),
      root_correction(s.root_correction), eps(s.eps), rate(s.rate);
  for (Index i = 0; i < n; i += simd::width) {
    const Index lanes = std::min(simd::width, n - i);
    const Batch g = scale * simd::load(gradient + i, lanes);
    const Batch m0 = simd::load(first + i, lanes);
    const Batch m = m0 + new_first * (g - m0);
    const Batch v = beta2 * simd::load(second + i, lanes) + new_second * g * g;
    const Batch step = m / (simd::sqrt(v) * root_correction + eps);
    simd::store(m, first + i, lanes);
    simd::store(v, second + i, lanes);
    simd::store(keep * simd::load(value + i, lanes) - rate * step, value + i, lanes);
  }
}

}  // namespace janusflow
