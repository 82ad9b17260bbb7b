// What the solvers ask of a state: a sum, a product with a number, and two customisation points.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <concepts>
#include <cstddef>
#include <ranges>
#include <type_traits>

namespace janusflow {

/// The type in which a state is kept: T without reference and const; for an Eigen expression the array or matrix that
/// holds its value, so that no solver ever keeps an expression whose operands are gone.
template <class T>
struct StateOf {
  using type = std::remove_cvref_t<T>;
};
template <class T>
requires requires { typename std::remove_cvref_t<T>::PlainObject; }
struct StateOf<T> {
  using type = typename std::remove_cvref_t<T>::PlainObject;
};
template <class T>
using state_t = typename StateOf<T>::type;

namespace detail {

/// z * factor, evaluated. The factor is rounded to the state's own number type before the product, so that a float
/// state is multiplied in float, as the reference models do.
template <class Z>
Z scaled(const Z& z, double factor) {
  if constexpr (std::floating_point<Z>) {
    return z * static_cast<Z>(factor);
  } else if constexpr (requires { Z(z * factor); }) {
    return Z(z * factor);
  } else {
    return Z(z * static_cast<typename Z::value_type>(factor));  // std::complex<float> knows only its own float
  }
}

/// z + factor * v, rounded after the product and after the sum.
template <class Z>
Z add_scaled(const Z& z, double factor, const Z& v) {
  const Z product = scaled(v, factor);
  return Z(z + product);
}

/// sum + factor * v + ..., from left to right.
template <class Z>
Z add_to(Z sum) {
  return sum;
}
template <class Z, class... Rest>
Z add_to(const Z& sum, double factor, const Z& v, const Rest&... factors_and_vs) {
  return add_to(add_scaled(sum, factor, v), factors_and_vs...);
}

/// factor * v + ..., from left to right.
template <class Z, class... Rest>
Z combine(double factor, const Z& v, const Rest&... factors_and_vs) {
  return add_to(scaled(v, factor), factors_and_vs...);
}

template <class T>
inline constexpr bool is_number = std::floating_point<T>;
template <class T>
inline constexpr bool is_number<std::complex<T>> = true;

template <class Z>
concept Contiguous = requires(const Z& z) {
  *z.data();
  { z.size() } -> std::convertible_to<std::size_t>;
};

/// Whether the numbers of a state can be walked through without help: one number, data() with size(), or a range.
template <class Z>
concept HasElements = is_number<Z> || Contiguous<Z> || std::ranges::forward_range<const Z>;

/// An iterator to the first number of the state.
template <HasElements Z>
auto first_element(const Z& z) {
  if constexpr (is_number<Z>) {
    return &z;
  } else if constexpr (Contiguous<Z>) {
    return z.data();
  } else {
    return std::ranges::begin(z);
  }
}

template <HasElements Z>
std::size_t element_count(const Z& z) {
  if constexpr (is_number<Z>) {
    return 1;
  } else if constexpr (Contiguous<Z>) {
    return static_cast<std::size_t>(z.size());
  } else {
    return static_cast<std::size_t>(std::ranges::distance(z));
  }
}

/// The square root of the sum of the squares of a state's numbers, in double.
template <class Z>
double euclidean_norm(const Z& z) {
  static_assert(HasElements<Z>, "the norm of a state whose numbers cannot be walked through");
  double sum = 0;
  auto element = first_element(z);
  for (std::size_t i = element_count(z); i > 0; --i, ++element) {
    const auto real = static_cast<double>(std::real(*element)), imaginary = static_cast<double>(std::imag(*element));
    sum += real * real + imaginary * imaginary;
  }
  return std::sqrt(sum);
}

/// Customisation point: `is_finite(z)` found by argument-dependent lookup; by default every number of the state is
/// looked at, and a state whose numbers cannot be walked through is taken as finite.
template <class Z>
bool all_finite(const Z& z) {
  if constexpr (requires { static_cast<bool>(is_finite(z)); }) {
    return static_cast<bool>(is_finite(z));
  } else if constexpr (HasElements<Z>) {
    auto element = first_element(z);
    for (std::size_t i = element_count(z); i > 0; --i, ++element) {
      if (!std::isfinite(std::real(*element)) || !std::isfinite(std::imag(*element))) return false;
    }
    return true;
  } else {
    return true;
  }
}

/// Customisation point: `error_norm(error, y0, y1, atol, rtol)` found by argument-dependent lookup; at most 1 where the
/// error of a step from y0 to y1 is within the tolerances. By default the root mean square over the numbers of
/// |error| / (atol + rtol * max(|y0|, |y1|)) (Hairer, Norsett, Wanner: Solving ODEs I, equations II.4.10, II.4.11).
template <class Z>
double norm_of_error(const Z& error, const Z& y0, const Z& y1, double atol, double rtol) {
  if constexpr (requires { static_cast<double>(error_norm(error, y0, y1, atol, rtol)); }) {
    return static_cast<double>(error_norm(error, y0, y1, atol, rtol));
  } else {
    static_assert(HasElements<Z>, "an adaptive solver needs error_norm(error, y0, y1, atol, rtol) for this state");
    auto e = first_element(error);
    auto a = first_element(y0);
    auto b = first_element(y1);
    const std::size_t count = element_count(error);
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i, ++e, ++a, ++b) {
      const double size = static_cast<double>(std::abs(*e));
      if (size == 0) continue;  // within any tolerance, atol = 0 at the origin too
      const double magnitude = std::max(static_cast<double>(std::abs(*a)), static_cast<double>(std::abs(*b)));
      const double ratio = size / (atol + rtol * magnitude);
      sum += ratio * ratio;
    }
    return count == 0 ? 0.0 : std::sqrt(sum / static_cast<double>(count));
  }
}

}  // namespace detail

/// A state that a flow can carry: movable, with + between two states and * with a number on its right.
/// double, std::complex, std::valarray, Eigen arrays, vectors and matrices, and the library's tensors all are;
/// integers are not.
template <class Z>
concept FlowState = std::movable<Z> && !std::integral<Z> && requires(const Z& z) {
  Z(z + z);
  { detail::scaled(z, 0.5) } -> std::same_as<Z>;
};

}  // namespace janusflow
