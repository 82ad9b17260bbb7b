// Losses of variables: one number each.
#pragma once

#include <span>
#include <vector>

#include "janusflow/autodiff/tape.hpp"
#include "janusflow/ops/losses.hpp"

namespace janusflow {

// Each is the kernel of the same name (ops/losses.hpp), read by the tape. Nothing flows back into targets.

template <class T, int R>
Var<T, 1> cross_entropy(const Var<T, R>& logits, std::span<const std::int32_t> targets) {
  return detail::result_of(
      "cross_entropy", scalar(cross_entropy(logits.value(), targets)),
      [logits, list = std::vector<std::int32_t>(targets.begin(), targets.end())](Tensor<T, 1> dy) {
        logits.accumulate(cross_entropy_backward(logits.value(), list, dy(0)));
      },
      logits);
}

template <class T, int R>
Var<T, 1> mean_squared_error(const Var<T, R>& x, const Var<T, R>& target) {
  return detail::result_of(
      "mean_squared_error", scalar(mean_squared_error(x.value(), target.value())),
      [x, target](Tensor<T, 1> dy) { x.accumulate(mean_squared_error_backward(x.value(), target.value(), dy(0))); }, x);
}

template <class T, int R>
Var<T, 1> mean_absolute_error(const Var<T, R>& x, const Var<T, R>& target) {
  return detail::result_of(
      "mean_absolute_error", scalar(mean_absolute_error(x.value(), target.value())),
      [x, target](Tensor<T, 1> dy) { x.accumulate(mean_absolute_error_backward(x.value(), target.value(), dy(0))); }, x);
}

template <class T, int R>
Var<T, 1> mean_cosine_similarity(const Var<T, R>& x, const Var<T, R>& target) {
  return detail::result_of(
      "mean_cosine_similarity", scalar(mean_cosine_similarity(x.value(), target.value())),
      [x, target](Tensor<T, 1> dy) { x.accumulate(mean_cosine_similarity_backward(x.value(), target.value(), dy(0))); }, x);
}

}  // namespace janusflow
