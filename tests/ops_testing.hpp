// What the tests of the operations share: random tensors, errors against double, byte equality, finite differences.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "janusflow/core/parallel.hpp"
#include "janusflow/core/tensor.hpp"

namespace testing {

using janusflow::Error;
using janusflow::Index;
using janusflow::Shape;
using janusflow::Tensor;
using janusflow::TensorView;

/// float32's machine epsilon as a unit of errors: half of the distance from 1 to the next float.
inline constexpr double eps32 = 0x1p-24;

/// Standard normal numbers times `scale`, plus `shift`.
template <class T, int R>
Tensor<T, R> random_tensor(Shape<R> shape, unsigned seed, double scale = 1, double shift = 0) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  Tensor<T, R> x(shape);
  for (T& v : x) v = static_cast<T>(static_cast<float>(shift + scale * normal(generator)));
  return x;
}

template <class To, janusflow::TensorLike X>
Tensor<To, X::rank> cast(const X& x) {
  const auto view = x.view();
  Tensor<To, X::rank> y(view.shape);
  const Index n = view.shape.last();
  for (Index r = 0; n && r < view.rows(); ++r)
    for (Index c = 0; c < n; ++c) y.data()[r * n + c] = static_cast<To>(view.row(r)[c]);
  return y;
}

/// The same numbers as columns [2, 2 + C) of a wider tensor: a view whose rows are not contiguous.
template <class T, int R>
struct Strided {
  Tensor<T, R> wide;
  TensorView<T, R> columns;

  explicit Strided(const Tensor<T, R>& x) : wide(x.shape().with_last(x.shape().last() + 5), T(99)) {
    columns = wide.view().columns(2, 2 + x.shape().last());
    for (Index r = 0; r < x.shape().rows(); ++r)
      std::copy_n(x.data() + r * x.shape().last(), x.shape().last(), columns.row(r));
  }
};

template <class T, int R>
bool same_bytes(const Tensor<T, R>& x, const Tensor<T, R>& y) {
  return x.shape() == y.shape() &&
         (x.empty() || std::memcmp(x.data(), y.data(), static_cast<std::size_t>(x.size()) * sizeof(T)) == 0);
}

/// The largest |y - exact| / bound, the bound given element by element.
template <class Y, int R, class Bound>
double worst_ratio(const Tensor<Y, R>& y, const Tensor<double, R>& exact, Bound bound) {
  REQUIRE(y.shape() == exact.shape());
  double worst = 0;
  for (Index i = 0; i < y.size(); ++i) {
    const double error = std::abs(static_cast<double>(y.data()[i]) - exact.data()[i]);
    worst = std::max(worst, error == 0 ? 0.0 : std::isnan(error) ? 1e300 : error / bound(i));
  }
  return worst;
}

/// Checks that run() gives the same bytes on 1, 2 and 3 threads.
template <class Run>
void check_threads(Run run) {
  const int before = janusflow::num_threads();
  janusflow::set_num_threads(1);
  const auto one = run();
  for (const int threads : {2, 3}) {
    janusflow::set_num_threads(threads);
    CHECK(same_bytes(run(), one));
  }
  janusflow::set_num_threads(before);
}

template <class Run>
std::string message_of(Run run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

/// Central differences of the scalar sum(dy * f()) by every element of x, against dx. The step's cube costs about h^2 =
/// 1e-10 of the third derivative and cancellation 1e-16 / h = 1e-11 of the sum: 1e-7 leaves room for both at the tests'
/// magnitudes.
template <int R, class F, int S>
void check_gradient(Tensor<double, R>& x, F f, const Tensor<double, S>& dy, const Tensor<double, R>& dx) {
  REQUIRE(x.shape() == dx.shape());
  const auto loss = [&] {
    const Tensor<double, S> y = f();
    double sum = 0;
    for (Index i = 0; i < y.size(); ++i) sum += y.data()[i] * dy.data()[i];
    return sum;
  };
  constexpr double h = 1e-5;
  double worst = 0, largest = 1;
  for (Index i = 0; i < x.size(); ++i) {
    const double kept = x.data()[i];
    x.data()[i] = kept + h;
    const double up = loss();
    x.data()[i] = kept - h;
    const double down = loss();
    x.data()[i] = kept;
    worst = std::max(worst, std::abs((up - down) / (2 * h) - dx.data()[i]));
    largest = std::max(largest, std::abs(dx.data()[i]));
  }
  CHECK(worst <= 1e-7 * largest);
}

}  // namespace testing
