// How many answers a model would give right.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "janusflow/core/tensor.hpp"
#include "janusflow/ops/losses.hpp"

namespace janusflow {

struct AnswerCount {
  Index right = 0, all = 0;
};

/// Answers are the runs of `targets` that are not ignored; `logits` [how many are not, V] stand in their order. An answer is right where
/// every one of its tokens is the likeliest behind those before it, which is where greedy decoding would say just this. Throws Error
/// where the two do not fit.
template <class T>
AnswerCount count_right_answers(TensorView<const T, 2> logits, std::span<const std::int32_t> targets) {
  AnswerCount count;
  Index row = 0;
  bool right = false;
  std::int32_t before = ignored_target;
  for (const std::int32_t target : targets) {
    if (target != ignored_target) {
      if (before == ignored_target) ++count.all, right = true;
      require(row < logits.shape[0] && target >= 0 && target < logits.shape[1], "answers: logits ", logits.shape, " do not fit the targets");
      const T* values = logits.row(row++);
      right = right && std::max_element(values, values + logits.shape[1]) - values == target;
    } else if (before != ignored_target) {
      count.right += right;
    }
    before = target;
  }
  if (before != ignored_target) count.right += right;
  require(row == logits.shape[0], "answers: logits ", logits.shape, " for ", row, " targets");
  return count;
}

}  // namespace janusflow
