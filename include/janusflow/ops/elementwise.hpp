// Element by element: activations and addition, each with its backward.
#pragma once

#include <cmath>
#include <numbers>

#include "janusflow/ops/rowwise.hpp"
#include "janusflow/simd/math.hpp"

namespace janusflow {

namespace reference {
// The scalar definitions, in any floating type: oracle of the batches in simd/math.hpp and what other types than float
// run.
template <std::floating_point T>
T sigmoid(T x) {
  return 1 / (1 + std::exp(-x));
}
template <std::floating_point T>
T silu(T x) {
  return x / (1 + std::exp(-x));
}
template <std::floating_point T>
T normal_cdf(T x) {
  return std::erfc(-x * std::numbers::sqrt2_v<T> / 2) / 2;
}
template <std::floating_point T>
T gelu(T x) {
  return x * normal_cdf(x);
}
/// d silu / dx = s + x s (1 - s), s = sigmoid(x).
template <std::floating_point T>
T silu_slope(T x) {
  const T s = sigmoid(x);
  return s * (1 + x * (1 - s));
}
/// d gelu / dx = cdf(x) + x pdf(x) of the standard normal distribution.
template <std::floating_point T>
T gelu_slope(T x) {
  return normal_cdf(x) + x * std::exp(-x * x / 2) * std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
}
}  // namespace reference

namespace detail {
// One name for a batch's function and a scalar's.
struct Sigmoid {
  simd::Batch operator()(simd::Batch x) const { return simd::sigmoid(x); }
  double operator()(double x) const { return reference::sigmoid(x); }
};
struct SiluOf {
  simd::Batch operator()(simd::Batch x) const { return simd::silu(x); }
  double operator()(double x) const { return reference::silu(x); }
};
struct GeluOf {
  simd::Batch operator()(simd::Batch x) const { return simd::gelu(x); }
  double operator()(double x) const { return reference::gelu(x); }
};
struct SiluSlope {
  simd::Batch operator()(simd::Batch x) const {
    const simd::Batch s = simd::sigmoid(x), one(1.f);
    return s * simd::multiply_add(x, one - s, one);
  }
  double operator()(double x) const { return reference::silu_slope(x); }
};
struct GeluSlope {
  simd::Batch operator()(simd::Batch x) const {
    const simd::Batch density = simd::exp(x * x * simd::Batch(-0.5f)) * simd::Batch(0.39894228040143268f);
    return simd::multiply_add(x, density, simd::normal_cdf(x));
  }
  double operator()(double x) const { return reference::gelu_slope(x); }
};
}  // namespace detail

// x may be any tensor or view, of any shape; a temporary tensor gives its memory to the result. Contracts against exact
// arithmetic: simd/math.hpp.

/// 1 / (1 + e^-x).
template <class X>
requires TensorLike<std::remove_cvref_t<X>>
auto sigmoid(X&& x) { return detail::map_elements(detail::Sigmoid{}, std::forward<X>(x)); }

/// x sigmoid(x) (swish).
template <class X>
requires TensorLike<std::remove_cvref_t<X>>
auto silu(X&& x) { return detail::map_elements(detail::SiluOf{}, std::forward<X>(x)); }
/// dx of y = silu(x), within 8 eps32 (1 + |x|) |dy|; a temporary dy gives its memory.
template <TensorLike X, class Dy>
requires TensorLike<std::remove_cvref_t<Dy>>
auto silu_backward(const X& x, Dy&& dy) {
  detail::require_same("silu_backward", x.view().shape, dy.view().shape);
  return detail::map_elements([](auto d, auto v) { return d * detail::SiluSlope{}(v); }, std::forward<Dy>(dy), x);
}

/// x (1 + erf(x / sqrt 2)) / 2, the exact GELU (PyTorch's approximate="none").
template <class X>
requires TensorLike<std::remove_cvref_t<X>>
auto gelu(X&& x) { return detail::map_elements(detail::GeluOf{}, std::forward<X>(x)); }
/// dx of y = gelu(x), within 8 eps32 (1 + |x|) |dy|; a temporary dy gives its memory.
template <TensorLike X, class Dy>
requires TensorLike<std::remove_cvref_t<Dy>>
auto gelu_backward(const X& x, Dy&& dy) {
  detail::require_same("gelu_backward", x.view().shape, dy.view().shape);
  return detail::map_elements([](auto d, auto v) { return d * detail::GeluSlope{}(v); }, std::forward<Dy>(dy), x);
}

/// silu(gate) * up (Shazeer 2020, arXiv 2002.05202, eq. 6, without its products), within 9 eps32 of itself.
template <class X, TensorLike Up>
requires TensorLike<std::remove_cvref_t<X>>
auto swiglu(X&& gate, const Up& up) {
  detail::require_same("swiglu", gate.view().shape, up.view().shape);
  return detail::map_elements([](auto g, auto u) { return detail::SiluOf{}(g)*u; }, std::forward<X>(gate), up);
}
/// dgate and dup of y = swiglu(gate, up), written there: within 10 eps32 (1 + |gate|) |dy up| and 9 eps32 |dup|.
template <TensorLike X, TensorLike Up, TensorLike Dy>
void swiglu_backward(const X& gate, const Up& up, const Dy& dy, TensorView<typename X::value_type, X::rank> dgate,
                     TensorView<typename X::value_type, X::rank> dup) {
  const auto g = detail::const_view(gate), u = detail::const_view(up), d = detail::const_view(dy);
  for (const auto& shape : {u.shape, d.shape, dgate.shape, dup.shape}) detail::require_same("swiglu_backward", g.shape, shape);
  detail::map_into(dgate, [](auto a, auto b, auto c) { return c * b * detail::SiluSlope{}(a); }, g, u, d);
  detail::map_into(dup, [](auto a, auto c) { return c * detail::SiluOf{}(a); }, g, d);
}

/// x + y. (operator+ does the same for owning tensors.)
template <class X, TensorLike Y>
requires TensorLike<std::remove_cvref_t<X>>
auto add(X&& x, const Y& y) {
  detail::require_same("add", x.view().shape, y.view().shape);
  return detail::map_elements([](auto a, auto b) { return a + b; }, std::forward<X>(x), y);
}

}  // namespace janusflow
