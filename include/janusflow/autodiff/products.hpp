// Matrix products and convolutions of variables.
#pragma once

#include <array>
#include <type_traits>

#include "janusflow/autodiff/tape.hpp"
#include "janusflow/ops/conv2d_backward.hpp"
#include "janusflow/ops/depthwise_conv2d.hpp"
#include "janusflow/ops/elementwise.hpp"
#include "janusflow/ops/linear_backward.hpp"

namespace janusflow {

namespace detail {

/// A bias as the kernels take it: owned, empty where there is none.
template <class T>
Tensor<T, 1> bias_tensor(const Var<T, 1>& bias) {
  return bias.empty() ? Tensor<T, 1>() : Tensor<T, 1>(bias.value());
}

template <class After>
inline constexpr bool is_residual = false;
template <class T, int R>
inline constexpr bool is_residual<Add<Var<T, R>>> = true;

template <class T, int R>
Tensor<T, R> activated(Gelu, const Tensor<T, R>& x) {
  return gelu(x);
}
template <class T, int R>
Tensor<T, R> activated(Silu, const Tensor<T, R>& x) {
  return silu(x);
}
/// dx of y = activated(after, x).
template <class T, int R>
Tensor<T, R> activated_backward(Gelu, const Tensor<T, R>& x, Tensor<T, R> dy) {
  return gelu_backward(x, std::move(dy));
}
template <class T, int R>
Tensor<T, R> activated_backward(Silu, const Tensor<T, R>& x, Tensor<T, R> dy) {
  return silu_backward(x, std::move(dy));
}

/// after(product), the operation `op`: forward(kernel's after) computes it, backward(dy) takes the product's gradient to `inputs`.
template <class T, int R, class After, class Forward, class Backward, class... In>
Var<T, R> product(const char* op, After after, Forward&& forward, Backward backward, const In&... inputs) {
  if constexpr (std::is_same_v<After, Identity>) {
    return result_of(op, forward(Identity{}), [backward](Tensor<T, R> dy) { backward(dy); }, inputs...);
  } else if constexpr (is_residual<After>) {
    const auto residual = after.x;
    const auto numbers = residual.value();
    Tensor<T, R> y;
    if constexpr (vectorised<T>) {
      y = forward(Add{numbers});
    } else {
      y = forward(Identity{});
      y += numbers.reshape(y.shape());
    }
    return result_of(
        op, std::move(y),
        [backward, residual](Tensor<T, R> dy) {
          backward(dy);
          residual.accumulate(std::move(dy).reshaped(residual.shape()));
        },
        inputs..., residual);
  } else {
    if (!records(inputs...)) {
      if constexpr (vectorised<T>) return Var<T, R>(forward(after));
    }
    auto before = std::make_shared<const Tensor<T, R>>(forward(Identity{}));
    return result_of(
        op, activated(after, *before),
        [backward, before, after](Tensor<T, R> dy) { backward(activated_backward(after, *before, std::move(dy))); },
        inputs...);
  }
}

/// x times weights that stand one below the other, as one product.
template <class T, int R, class After>
Tensor<T, R> stacked_product(TensorView<const T, R> x, const StackedRows<T>& rows, const Tensor<T, 1>& bias, After after) {
  if constexpr (vectorised<T>) {
    PackedMatrix<simd::Float32Dot> packed(rows.count(), x.shape.last());
    packed.pack_rows(rows);
    Tensor<T, R> y(x.shape.with_last(rows.count()));
    require(bias.empty() || bias.size() == rows.count(), "linear: bias ", bias.shape(), " does not match weight ",
            Shape{rows.count(), x.shape.last()});
    require_fits(after, x.rows(), rows.count());
    multiply_rows(as_rows(x), packed, bias, after, y.data());
    return y;
  } else {
    Tensor<T, 2> weight(Shape{rows.count(), x.shape.last()});
    for (Index n = 0; n < rows.count(); ++n) std::copy_n(rows(n), x.shape.last(), &weight(n, 0));
    return reference::linear(x, weight, bias);
  }
}

/// The gradients of a stacked product: dy [..., all outputs].
template <class T, int R, std::size_t N>
void stacked_product_backward(const Var<T, R>& x, const std::array<Var<T, 2>, N>& weights, const Tensor<T, R>& dy) {
  std::array<TensorView<const T, 2>, N> views;
  Index column = 0;
  for (std::size_t i = 0; i < N; ++i) {
    views[i] = weights[i].value();
    const auto part = std::as_const(dy).view().columns(column, column + views[i].shape[0]);
    if (weights[i].needs_gradient()) weights[i].accumulate(linear_backward_weight(x.value(), part));
    column += views[i].shape[0];
  }
  if (x.needs_gradient()) x.accumulate(input_gradient<T, R>(StackedRows<T>(views), x.shape().last(), dy.view()));
}

}  // namespace detail

// Each is the kernel of the same name (ops/), read by the tape: arguments, shapes and errors are the kernel's.

template <class T, int R, class After = Identity>
Var<T, R> linear(const Var<T, R>& x, const Var<T, 2>& weight, const Var<T, 1>& bias = {}, After after = {}) {
  require(x.shape().last() == weight.shape()[1], "linear: x ", x.shape(), " does not match weight ", weight.shape());
  return detail::product<T, R>(
      "linear", after,
      [&](auto kernel_after) {
        const auto rows = weight.value();
        return detail::stacked_product(x.value(), detail::StackedRows<T>({&rows, 1}), detail::bias_tensor(bias), kernel_after);
      },
      [x, weight, bias](const Tensor<T, R>& dy) {
        if (bias.needs_gradient()) bias.accumulate(linear_backward_bias(dy));
        if (weight.needs_gradient()) weight.accumulate(linear_backward_weight(x.value(), dy));
        if (x.needs_gradient()) x.accumulate(linear_backward_input(weight.value(), dy));
      },
      x, weight, bias);
}
template <class Matrix, class T, int R, class After = Identity>
Var<T, R> linear_for(const Var<T, R>& x, const Var<T, 2>& weight, const Var<T, 1>& bias = {}, After after = {}) {
  return linear(x, weight, bias, after);
}
template <class Value, class T, int R>
Var<T, R> rounded_linear(const Var<T, R>& x, const Var<T, 2>& weight, const Var<T, 1>& bias = {}) {
  static_assert(std::is_same_v<Value, float>);  // of what is rounded there is no gradient
  return linear(x, weight, bias);
}
/// The same on numbers that are given, such as a time's sinusoids.
template <TensorLike X, class T, class After = Identity>
auto linear(const X& x, const Var<T, 2>& weight, const Var<T, 1>& bias = {}, After after = {}) {
  return linear(constant<T>(x), weight, bias, after);
}

template <class T, int R, class First, class... More>
requires std::is_base_of_v<Var<T, 2>, First>
auto linear_each(const Var<T, R>& x, const First& first, const More&... more) {
  constexpr std::size_t count = 1 + sizeof...(More);
  const std::array<Var<T, 2>, count> weights{first, more...};
  for (const auto& w : weights) require(x.shape().last() == w.shape()[1], "linear: x ", x.shape(), " does not match weight ", w.shape());
  std::array<Tensor<T, R>, count> products;
  if constexpr (detail::vectorised<T>) {
    std::array<PackedMatrix<simd::Float32Dot>, count> packed;
    for (std::size_t i = 0; i < count; ++i) {
      packed[i] = PackedMatrix<simd::Float32Dot>(weights[i].shape()[0], weights[i].shape()[1]);
      packed[i].pack(weights[i].value());
      products[i] = Tensor<T, R>(x.shape().with_last(packed[i].out_features()));
    }
    detail::for_packed_rows(detail::as_rows(x.value()), [&](Index begin, Index end, auto&& panel) {
      for (std::size_t i = 0; i < count; ++i) {
        const Index columns = packed[i].out_features();
        const PanelPairs<simd::Float32Dot> pairs{packed[i]};
        gemm_block<simd::Float32Dot>(begin, end, panel, pairs, 0, pairs.count(),
                                     detail::StoreTile<Identity>{{products[i].data(), columns}, columns, nullptr, {},
                                                                 detail::too_large_for_caches<float>(x.shape().rows(), columns)});
      }
    });
  } else {
    for (std::size_t i = 0; i < count; ++i) products[i] = reference::linear(x.value(), weights[i].value());
  }
  return detail::results_of(
      "linear_each", std::move(products),
      [x, weights](std::array<Tensor<T, R>, count> dys) {
        Tensor<T, R> dx;
        for (std::size_t i = 0; i < count; ++i) {
          if (dys[i].empty()) continue;
          const auto dy = std::as_const(dys[i]).view();
          const auto weight = weights[i].value();
          if (weights[i].needs_gradient()) weights[i].accumulate(linear_backward_weight(x.value(), dy));
          if (x.needs_gradient()) dx = detail::input_gradient(detail::StackedRows<T>({&weight, 1}), weight.shape[1], dy, std::move(dx));
        }
        if (!dx.empty()) x.accumulate(std::move(dx));
      },
      x, first, more...);
}

template <class T, int R>
Var<T, R> swiglu(const Var<T, R>& x, const Var<T, 2>& gate, const Var<T, 2>& up) {
  require(x.shape().last() == gate.shape()[1] && gate.shape() == up.shape(), "swiglu: x ", x.shape(), " does not match gate ",
          gate.shape(), " and up ", up.shape());
  const std::array<TensorView<const T, 2>, 2> views{gate.value(), up.value()};
  const Index n = gate.shape()[0];
  auto both = std::make_shared<const Tensor<T, R>>(
      detail::stacked_product(x.value(), detail::StackedRows<T>(views), {}, Identity{}));
  Tensor<T, R> y = swiglu(both->view().columns(0, n), both->view().columns(n, 2 * n));
  return detail::result_of(
      "swiglu", std::move(y),
      [x, weights = std::array<Var<T, 2>, 2>{gate, up}, both, n](Tensor<T, R> dy) {
        Tensor<T, R> dboth(both->shape());
        swiglu_backward(both->view().columns(0, n), both->view().columns(n, 2 * n), dy, dboth.view().columns(0, n), dboth.view().columns(n, 2 * n));
        detail::stacked_product_backward(x, weights, dboth);
      },
      x, gate, up);
}

template <class Matrix, class T, int R>
Var<T, R> swiglu_for(const Var<T, R>& x, const Var<T, 2>& gate, const Var<T, 2>& up) {
  return swiglu(x, gate, up);
}

template <class T, class After = Identity>
Var<T, 4> conv2d(const Var<T, 4>& x, const Var<T, 4>& weight, const Var<T, 1>& bias, ConvGeometry geometry, After after = {}) {
  const Index kernel = weight.shape()[2];
  return detail::product<T, 4>(
      "conv2d", after,
      [&](auto kernel_after) {
        if constexpr (detail::vectorised<T>) {
          PackedFilter<simd::Float32Dot> filter(weight.shape()[0], weight.shape()[1], kernel);
          filter.pack(weight.value());
          return conv2d(x.value(), filter, detail::bias_tensor(bias), geometry, kernel_after);
        } else {
          return reference::conv2d(x.value(), weight.value(), detail::bias_tensor(bias), geometry);
        }
      },
      [x, weight, bias, geometry, kernel](const Tensor<T, 4>& dy) {
        if (bias.needs_gradient()) bias.accumulate(linear_backward_bias(dy));
        if (weight.needs_gradient()) weight.accumulate(conv2d_backward_weight(x.value(), kernel, geometry, dy));
        if (x.needs_gradient()) x.accumulate(conv2d_backward_input(x.shape(), weight.value(), geometry, dy));
      },
      x, weight, bias);
}

/// y + conv2d(x).
template <class T>
Var<T, 4> conv2d_onto(const Var<T, 4>& y, const Var<T, 4>& x, const Var<T, 4>& weight, const Var<T, 1>& bias, ConvGeometry geometry) {
  return conv2d(x, weight, bias, geometry, Add{y});
}

template <class T>
Var<T, 4> upsample_conv2d(const Var<T, 4>& x, const Var<T, 4>& weight, const Var<T, 1>& bias) {
  return detail::product<T, 4>(
      "upsample_conv2d", Identity{},
      [&](Identity) {
        if constexpr (detail::vectorised<T>) {
          UpsampleFilter<simd::Float32Dot> filter(weight.shape()[0], weight.shape()[1], 3);
          filter.pack(weight.value());
          return upsample_conv2d(x.value(), filter, detail::bias_tensor(bias));
        } else {
          return reference::conv2d(upsample_nearest2x(x.value()), weight.value(), detail::bias_tensor(bias), ConvGeometry::same(3));
        }
      },
      [x, weight, bias](const Tensor<T, 4>& dy) {
        if (bias.needs_gradient()) bias.accumulate(linear_backward_bias(dy));
        if (weight.needs_gradient()) weight.accumulate(upsample_conv2d_backward_weight(x.value(), dy));
        if (x.needs_gradient()) x.accumulate(upsample_conv2d_backward_input(x.shape(), weight.value(), dy));
      },
      x, weight, bias);
}

template <class T>
Var<T, 4> depthwise_conv2d(const Var<T, 4>& x, const Var<T, 4>& weight, const Var<T, 1>& bias) {
  return detail::result_of(
      "depthwise_conv2d", depthwise_conv2d(x.value(), DepthwiseFilter<T>(weight.value()), bias.value()),
      [x, weight, bias](Tensor<T, 4> dy) {
        auto gradients = depthwise_conv2d_backward(x.value(), DepthwiseFilter<T>(weight.value()), dy);
        x.accumulate(std::move(gradients.dx));
        weight.accumulate(std::move(gradients.dweight));
        bias.accumulate(std::move(gradients.dbias));
      },
      x, weight, bias);
}

}  // namespace janusflow
