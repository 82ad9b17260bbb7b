// What the autoencoder and the contrastive tower are pretrained with: variables' samples and their divergence, poolings, pairs.
#pragma once

#include <span>
#include <vector>

#include "janusflow/autodiff/losses.hpp"
#include "janusflow/ops/average_pool.hpp"
#include "janusflow/ops/contrastive.hpp"
#include "janusflow/ops/gaussian.hpp"

namespace janusflow {

// Each is the kernel of the same name (ops/), read by the tape: arguments, shapes and errors are the kernel's.

template <class T>
Var<T, 4> average_pool2x(const Var<T, 4>& x) {
  return detail::result_of(
      "average_pool2x", average_pool2x(x.value()), [x](Tensor<T, 4> dy) { x.accumulate(average_pool2x_backward(dy)); }, x);
}

/// Nothing flows back into the noise.
template <class T, int R>
Var<T, R> sample_gaussian(const Var<T, R>& mean, const Var<T, R>& logvar, const Var<T, R>& noise) {
  return detail::result_of(
      "sample_gaussian", sample_gaussian(mean.value(), logvar.value(), noise.value()),
      [mean, logvar, noise](Tensor<T, R> dz) {
        if (logvar.needs_gradient()) logvar.accumulate(sample_gaussian_backward(logvar.value(), noise.value(), dz));
        mean.accumulate(std::move(dz));
      },
      mean, logvar);
}

template <class T, int R>
Var<T, 1> gaussian_kl(const Var<T, R>& mean, const Var<T, R>& logvar) {
  return detail::result_of(
      "gaussian_kl", scalar(gaussian_kl(mean.value(), logvar.value())),
      [mean, logvar](Tensor<T, 1> dloss) {
        auto [dmean, dlogvar] = gaussian_kl_backward(mean.value(), logvar.value(), dloss(0));
        mean.accumulate(std::move(dmean));
        logvar.accumulate(std::move(dlogvar));
      },
      mean, logvar);
}

template <class T, int R>
Var<T, R> l2_normalize(const Var<T, R>& x) {
  return detail::result_of(
      "l2_normalize", l2_normalize(x.value()), [x](Tensor<T, R> dy) { x.accumulate(l2_normalize_backward(x.value(), dy)); }, x);
}

template <class T>
Var<T, 2> segment_means(const Var<T, 2>& x, std::span<const Index> ends) {
  return detail::result_of(
      "segment_means", segment_means(x.value(), ends),
      [x, list = std::vector<Index>(ends.begin(), ends.end())](Tensor<T, 2> dy) { x.accumulate(segment_means_backward<Tensor<T, 2>>(list, dy)); }, x);
}

/// log_scale and bias [1] train too; nothing flows back into the labels.
template <class T>
Var<T, 1> sigmoid_pair_loss(const Var<T, 2>& similarities, const Var<T, 1>& log_scale, const Var<T, 1>& bias, const Var<T, 2>& labels) {
  return detail::result_of(
      "sigmoid_pair_loss",
      scalar(sigmoid_pair_loss(similarities.value(), log_scale.value().data[0], bias.value().data[0], labels.value())),
      [=](Tensor<T, 1> dloss) {
        auto gradients =
            sigmoid_pair_loss_backward(similarities.value(), log_scale.value().data[0], bias.value().data[0], labels.value(), dloss(0));
        similarities.accumulate(std::move(gradients.dsimilarities));
        log_scale.accumulate(scalar(gradients.dlog_scale));
        bias.accumulate(scalar(gradients.dbias));
      },
      similarities, log_scale, bias);
}

}  // namespace janusflow
