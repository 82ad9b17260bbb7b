// A Gaussian for each number, by its mean and the logarithm of its variance: samples, and the divergence from the standard one.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "janusflow/ops/losses.hpp"

namespace janusflow {

namespace detail {

/// The logarithm of the variance is cut to this range, and nothing flows back into what was cut (diffusers'
/// DiagonalGaussianDistribution).
inline constexpr double lowest_logvar = -30, highest_logvar = 20;

template <class T>
T cut_logvar(T logvar) {
  return std::clamp(logvar, T(lowest_logvar), T(highest_logvar));
}

/// y = f(x...) row by row, in T itself: there are few latents, and they are read once.
template <class T, int R, class F, class... In>
Tensor<T, R> map_scalars(const Shape<R>& shape, F f, const In&... x) {
  Tensor<T, R> y(shape);
  const Index n = shape.last();
  for_rows(shape.rows(), n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r)
      for (Index c = 0; c < n; ++c) y.data()[r * n + c] = f(x.row(r)[c]...);
  });
  return y;
}

}  // namespace detail

/// z = mean + e^(logvar / 2) noise: a sample through which gradients flow (Kingma and Welling 2014, arXiv 1312.6114, section 2.4).
/// Error: at most 4 eps32 (|mean| + |e^(logvar / 2) noise|), where the C library's exponential is within 1 ulp.
template <TensorLike Mean, TensorLike Logvar, TensorLike Noise>
auto sample_gaussian(const Mean& mean, const Logvar& logvar, const Noise& noise) {
  using T = typename Mean::value_type;
  const auto m = detail::const_view(mean), v = detail::const_view(logvar), e = detail::const_view(noise);
  detail::require_same("sample_gaussian", m.shape, v.shape);
  detail::require_same("sample_gaussian", m.shape, e.shape);
  return detail::map_scalars<T>(m.shape, [](T a, T b, T c) { return a + std::exp(detail::cut_logvar(b) / 2) * c; }, m, v, e);
}
/// dlogvar of z = sample_gaussian(mean, logvar, noise): dz noise e^(logvar / 2) / 2. dmean is dz.
template <TensorLike Logvar, TensorLike Noise, TensorLike Dz>
auto sample_gaussian_backward(const Logvar& logvar, const Noise& noise, const Dz& gradient) {
  using T = typename Logvar::value_type;
  const auto v = detail::const_view(logvar), e = detail::const_view(noise), dz = detail::const_view(gradient);
  detail::require_same("sample_gaussian_backward", v.shape, e.shape);
  detail::require_same("sample_gaussian_backward", v.shape, dz.shape);
  const auto slope = [](T b, T c, T d) { return detail::cut_logvar(b) == b ? d * c * std::exp(b / 2) / 2 : T(0); };
  return detail::map_scalars<T>(v.shape, slope, v, e, dz);
}

/// The Kullback-Leibler divergence of N(mean, e^logvar) from N(0, 1), the mean over all numbers of (mean^2 + e^logvar - 1 - logvar) / 2
/// (the same, appendix B; diffusers adds them up instead). In double, rounded once.
template <TensorLike Mean, TensorLike Logvar>
auto gaussian_kl(const Mean& mean, const Logvar& logvar) {
  using T = typename Mean::value_type;
  const auto m = detail::const_view(mean), v = detail::const_view(logvar);
  detail::require_same("gaussian_kl", m.shape, v.shape);
  const double sum = detail::sum_in_order(m.rows(), 64, [&](Index r) {
    double row = 0;
    for (Index c = 0; c < m.shape.last(); ++c) {
      const auto a = static_cast<double>(m.row(r)[c]), b = static_cast<double>(detail::cut_logvar(v.row(r)[c]));
      row += (a * a + std::exp(b) - 1 - b) / 2;
    }
    return row;
  });
  return static_cast<T>(sum / static_cast<double>(std::max<Index>(1, m.size())));
}
/// {dmean, dlogvar} of the mean, times dloss: mean dloss / n and (e^logvar - 1) / 2 dloss / n.
template <TensorLike Mean, TensorLike Logvar>
auto gaussian_kl_backward(const Mean& mean, const Logvar& logvar, typename Mean::value_type dloss) {
  using T = typename Mean::value_type;
  const auto m = detail::const_view(mean), v = detail::const_view(logvar);
  detail::require_same("gaussian_kl_backward", m.shape, v.shape);
  const T scale = dloss / static_cast<T>(std::max<Index>(1, m.size()));
  const auto slope = [scale](T b) { return detail::cut_logvar(b) == b ? scale * std::expm1(b) / 2 : T(0); };
  return std::pair{detail::map_scalars<T>(m.shape, [scale](T a) { return scale * a; }, m), detail::map_scalars<T>(v.shape, slope, v)};
}

}  // namespace janusflow
