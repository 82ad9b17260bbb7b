// Activations, arithmetic and conditioning of variables.
#pragma once

#include "janusflow/autodiff/tape.hpp"
#include "janusflow/ops/elementwise.hpp"
#include "janusflow/ops/modulate.hpp"

namespace janusflow {

// Each is the kernel of the same name (ops/), read by the tape: arguments, shapes and errors are the kernel's.

template <class T, int R>
Var<T, R> modulate(const Var<T, R>& x, const Var<T, 2>& scale_shift) {
  return detail::result_of(
      "modulate", modulate(x.value(), scale_shift.value()),
      [x, scale_shift](Tensor<T, R> dy) {
        auto [dx, dscale_shift] = modulate_backward(x.value(), scale_shift.value(), dy);
        x.accumulate(std::move(dx));
        scale_shift.accumulate(std::move(dscale_shift));
      },
      x, scale_shift);
}

template <class T, int R>
Var<T, R> silu(const Var<T, R>& x) {
  return detail::result_of(
      "silu", silu(x.value()), [x](Tensor<T, R> dy) { x.accumulate(silu_backward(x.value(), std::move(dy))); }, x);
}
template <class T, int R>
Var<T, R> gelu(const Var<T, R>& x) {
  return detail::result_of(
      "gelu", gelu(x.value()), [x](Tensor<T, R> dy) { x.accumulate(gelu_backward(x.value(), std::move(dy))); }, x);
}

/// x + y, shapes agree.
template <class T, int R>
Var<T, R> operator+(const Var<T, R>& x, const Var<T, R>& y) {
  return detail::result_of(
      "add", add(x.value(), y.value()),
      [x, y](Tensor<T, R> dy) {
        if (y.needs_gradient()) y.accumulate(dy.clone());
        x.accumulate(std::move(dy));
      },
      x, y);
}

/// factor * x.
template <class T, int R>
Var<T, R> operator*(std::type_identity_t<T> factor, const Var<T, R>& x) {
  return detail::result_of(
      "scale", factor * detail::copied(x.value()), [x, factor](Tensor<T, R> dy) { x.accumulate(factor * dy); }, x);
}

}  // namespace janusflow
