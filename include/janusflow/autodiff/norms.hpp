// Normalisations of variables.
#pragma once

#include "janusflow/autodiff/tape.hpp"
#include "janusflow/ops/global_response_norm.hpp"
#include "janusflow/ops/group_norm.hpp"
#include "janusflow/ops/norms.hpp"

namespace janusflow {

// Each is the kernel of the same name (ops/), read by the tape: arguments, shapes and errors are the kernel's.

template <class T, int R>
Var<T, R> rms_norm(const Var<T, R>& x, const Var<T, 1>& weight, float eps) {
  return detail::result_of(
      "rms_norm", rms_norm(x.value(), weight.value(), T(eps)),
      [x, weight, eps](Tensor<T, R> dy) {
        auto gradients = rms_norm_backward(x.value(), weight.value(), T(eps), dy);
        x.accumulate(std::move(gradients.dx));
        weight.accumulate(std::move(gradients.dweight));
      },
      x, weight);
}

template <class Matrix, class T, int R>
Var<T, R> rms_norm_for(const Var<T, R>& x, const Var<T, 1>& weight, float eps) {
  return rms_norm(x, weight, eps);
}

template <class T, int R>
Var<T, R> layer_norm(const Var<T, R>& x, const Var<T, 1>& weight, const Var<T, 1>& bias, float eps) {
  return detail::result_of(
      "layer_norm", layer_norm(x.value(), weight.value(), bias.value(), T(eps)),
      [x, weight, bias, eps](Tensor<T, R> dy) {
        auto gradients = layer_norm_backward(x.value(), weight.value(), T(eps), dy);
        x.accumulate(std::move(gradients.dx));
        weight.accumulate(std::move(gradients.dweight));
        bias.accumulate(std::move(gradients.dbias));
      },
      x, weight, bias);
}

template <class Matrix, class T, int R>
Var<T, R> layer_norm_for(const Var<T, R>& x, const Var<T, 1>& weight, const Var<T, 1>& bias, float eps) {
  return layer_norm(x, weight, bias, eps);
}

template <class T>
Var<T, 4> group_norm(const Var<T, 4>& x, const Var<T, 1>& weight, const Var<T, 1>& bias, Index groups, float eps) {
  return detail::result_of(
      "group_norm", group_norm(x.value(), weight.value(), bias.value(), groups, T(eps)),
      [x, weight, bias, groups, eps](Tensor<T, 4> dy) {
        auto gradients = group_norm_backward(x.value(), weight.value(), groups, T(eps), dy);
        x.accumulate(std::move(gradients.dx));
        weight.accumulate(std::move(gradients.dweight));
        bias.accumulate(std::move(gradients.dbias));
      },
      x, weight, bias);
}

template <class T>
Var<T, 4> silu_of_group_norm(const Var<T, 4>& x, const Var<T, 1>& weight, const Var<T, 1>& bias, Index groups, float eps) {
  return detail::result_of(
      "group_norm_silu", group_norm_silu(x.value(), weight.value(), bias.value(), groups, T(eps)),
      [x, weight, bias, groups, eps](Tensor<T, 4> dy) {
        auto gradients = group_norm_silu_backward(x.value(), weight.value(), bias.value(), groups, T(eps), std::move(dy));
        x.accumulate(std::move(gradients.dx));
        weight.accumulate(std::move(gradients.dweight));
        bias.accumulate(std::move(gradients.dbias));
      },
      x, weight, bias);
}

template <class T>
Var<T, 4> global_response_norm(const Var<T, 4>& x, const Var<T, 1>& weight, const Var<T, 1>& bias) {
  return detail::result_of(
      "global_response_norm", global_response_norm(x.value(), weight.value(), bias.value()),
      [x, weight, bias](Tensor<T, 4> dy) {
        auto gradients = global_response_norm_backward(x.value(), weight.value(), dy);
        x.accumulate(std::move(gradients.dx));
        weight.accumulate(std::move(gradients.dweight));
        bias.accumulate(std::move(gradients.dbias));
      },
      x, weight, bias);
}

}  // namespace janusflow
