// Group normalisation of channels-last pictures, alone or with the SiLU that follows it, with its backward.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "janusflow/ops/elementwise.hpp"
#include "janusflow/ops/norms.hpp"

namespace janusflow {

namespace reference {

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, mean and variance over the pixels and channels of a group.
template <TensorLike X>
auto group_norm(const X& input, VectorLike<X> weight, VectorLike<X> bias, Index groups, typename X::value_type eps) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  const Index channels = x.shape[3], size = channels / groups, pixels = x.shape[1] * x.shape[2];
  Tensor<T, 4> y(x.shape);
  for (Index b = 0; b < x.shape[0]; ++b)
    for (Index g = 0; g < groups; ++g) {
      const auto each = [&](auto&& f) {
        for (Index p = b * pixels; p < (b + 1) * pixels; ++p)
          for (Index c = g * size; c < (g + 1) * size; ++c) f(p, c, x.row(p)[c]);
      };
      T sum = 0, squares = 0;
      each([&](Index, Index, T v) { sum += v; });
      const T mean = sum / T(size * pixels);
      each([&](Index, Index, T v) { squares += (v - mean) * (v - mean); });
      const T scale = 1 / std::sqrt(squares / T(size * pixels) + eps);
      each([&](Index p, Index c, T v) {
        y.data()[p * channels + c] = (v - mean) * scale * weight.data[c] + bias.data[c];
      });
    }
  return y;
}

}  // namespace reference

namespace detail {

/// A mean and a sum of squared deviations of `count` numbers, and how two of them join (Chan et al. 1979).
struct Moments {
  double count = 0, mean = 0, squares = 0;

  void join(const Moments& other) {
    const double total = count + other.count, delta = other.mean - mean;
    if (total == 0) return;
    squares += other.squares + delta * delta * count * other.count / total;
    mean += delta * other.count / total;
    count = total;
  }
};

/// Pixels whose moments are summed in float.
inline Index moments_grain(Index channels) { return std::clamp<Index>(4096 / std::max<Index>(1, channels), 1, 32); }

/// Joins the moments of every group of x to `all` [B, groups], one pass over memory: a chunk of pixels stays in the first-level cache while
/// its channels' means and then their deviations are summed in float; a group's channels and then the chunks are joined in double, in order.
/// Lines of a picture that come one after the other, in whole chunks, give the same moments as all of them at once.
inline void join_group_moments(TensorView<const float, 4> x, Index groups, std::vector<Moments>& all) {
  const Index channels = x.shape[3], pixels = x.shape[1] * x.shape[2], size = channels / groups;
  const Index grain = moments_grain(channels), chunks = (pixels + grain - 1) / grain;
  std::vector<Moments> parts(static_cast<std::size_t>(x.shape[0] * chunks * groups));
  parallel_for(x.shape[0] * chunks, [&](Index piece) {
    const Index begin = piece % chunks * grain, count = std::min(grain, pixels - begin);
    const float* from = x.row(piece / chunks * pixels + begin);
    Tensor<float, 2> sums(Shape{Index{2}, channels});
    float *means = sums.data(), *squares = means + channels;
    simd::column_sums(
        count, channels, x.row_stride, means, [](Index, simd::Batch v) { return v; }, from);
    for (Index c = 0; c < channels; ++c) means[c] /= static_cast<float>(count);
    const auto deviation = [&](Index c, simd::Batch v) {
      const simd::Batch d = v - simd::load(means + c, std::min(simd::width, channels - c));
      return d * d;
    };
    simd::column_sums(count, channels, x.row_stride, squares, deviation, from);
    for (Index g = 0; g < groups; ++g) {  // channels of equally many numbers
      const float *mean = means + g * size, *square = squares + g * size;
      double sum = 0, within = 0, between = 0;
      for (Index c = 0; c < size; ++c) sum += mean[c], within += square[c];
      const double middle = sum / static_cast<double>(size);
      for (Index c = 0; c < size; ++c) between += (mean[c] - middle) * (mean[c] - middle);
      parts[static_cast<std::size_t>(piece * groups + g)] = {static_cast<double>(count * size), middle,
                                                             within + static_cast<double>(count) * between};
    }
  });
  parallel_for(x.shape[0] * groups, [&](Index of) {
    const Index b = of / groups, g = of % groups;
    Moments total = all[static_cast<std::size_t>(of)];
    for (Index chunk = 0; chunk < chunks; ++chunk) total.join(parts[static_cast<std::size_t>((b * chunks + chunk) * groups + g)]);
    all[static_cast<std::size_t>(of)] = total;
  });
}
/// Moments of every group [B, groups] of whole pictures.
inline std::vector<Moments> group_moments(TensorView<const float, 4> x, Index groups) {
  std::vector<Moments> all(static_cast<std::size_t>(x.shape[0] * groups));
  join_group_moments(x, groups, all);
  return all;
}

/// What a group norm makes of a picture's numbers, channel by channel: (x - mean) scale + bias, mean and scale the picture's own.
class GroupAffine {
 public:
  GroupAffine(TensorView<const float, 4> x, TensorView<const float, 1> weight, Index groups, float eps)
      : GroupAffine(x.shape, group_moments(x, groups), weight, eps) {}
  /// Of pictures, or lines of them, of that shape, by the whole pictures' moments [B, groups].
  GroupAffine(const Shape<4>& x, const std::vector<Moments>& moments, TensorView<const float, 1> weight, float eps)
      : pixels_(x[1] * x[2]), of_(Shape{x[0], Index{2}, x[3]}) {
    const Index channels = x[3], groups = std::ssize(moments) / std::max<Index>(1, x[0]), size = channels / std::max<Index>(1, groups);
    for (Index b = 0; b < x[0]; ++b)
      for (Index c = 0; c < channels; ++c) {
        const Moments& m = moments[static_cast<std::size_t>(b * groups + c / size)];
        of_(b, 0, c) = static_cast<float>(m.mean);
        of_(b, 1, c) = static_cast<float>(weight.data[c] / std::sqrt(m.squares / m.count + static_cast<double>(eps)));
      }
  }

  /// to [C] = after(the norm of `from` [C]), the numbers of a pixel, counted over all pictures.
  template <class After>
  void map_pixel(Index pixel, const float* from, const float* bias, float* to, After after) const {
    const Index channels = of_.shape()[2];
    const float* mean = of_.data() + pixel / pixels_ * 2 * channels;
    simd::map(
        channels, to,
        [&](simd::Batch v, simd::Batch m, simd::Batch scale, simd::Batch shift) { return after(simd::multiply_add(v - m, scale, shift)); },
        from, mean, mean + channels, bias);
  }

 private:
  Index pixels_;
  Tensor<float, 3> of_;  // [B, mean and scale, C]
};

/// Throws Error unless the channels of x are so many equal groups.
inline void require_equal_groups(const char* op, const Shape<4>& x, Index groups) {
  require(groups >= 1 && groups <= std::max<Index>(1, x[3]) && x[3] % groups == 0, op, ": the channels of x ", x,
          " are not a multiple of ", groups, " groups");
}
/// Throws Error where a group norm of `groups` groups does not fit x.
template <class T>
void require_groups(const char* op, const Shape<4>& x, TensorView<const T, 1> weight, TensorView<const T, 1> bias, Index groups) {
  require_vector(op, x, "weight", weight.shape);
  require_vector(op, x, "bias", bias.shape);
  require_equal_groups(op, x, groups);
}
/// How many groups moments [B, groups] of pictures like x are of; 0 where they are not as many as that.
inline Index groups_of(const std::vector<Moments>& moments, const Shape<4>& x) {
  return x[0] > 0 && std::ssize(moments) % x[0] == 0 ? std::ssize(moments) / x[0] : 0;
}

/// group_norm, followed by `after` on each number.
template <TensorLike X, class After>
auto group_norm(const char* op, const X& input, VectorLike<X> weight, VectorLike<X> bias, Index groups,
                typename X::value_type eps, After after) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view();
  require_groups<T>(op, x.shape, weight, bias, groups);
  if constexpr (!vectorised<T>) {
    return map_elements(after, reference::group_norm(x, weight, bias, groups, eps));
  } else {
    const GroupAffine affine(x, weight, groups, eps);
    const Index channels = x.shape[3];
    Tensor<float, 4> y(x.shape);
    for_rows(x.rows(), channels, [&](Index begin, Index end) {
      for (Index p = begin; p < end; ++p) affine.map_pixel(p, x.row(p), bias.data, y.data() + p * channels, after);
    });
    return y;
  }
}

}  // namespace detail

/// Group normalisation (Wu and He 2018, arXiv 1803.08494) of x [B, H, W, C] with weight and bias [C]: y = (x - mean) /
/// sqrt(variance + eps) * weight + bias, mean and variance over all pixels and the C / groups channels of a group.
/// Moments are summed in float over a few pixels and joined in double. Error against exact arithmetic, to first order: at most
/// 24 eps32 (|y| + |bias| + |weight|) (1 + X), X = max|x| / sqrt(variance + eps), whatever the picture's size.
template <TensorLike X>
auto group_norm(const X& x, VectorLike<X> weight, VectorLike<X> bias, Index groups, typename X::value_type eps) {
  return detail::group_norm("group_norm", x, weight, bias, groups, eps, [](auto v) { return v; });
}

/// silu(group_norm(x, ...)), written once.
template <TensorLike X>
auto group_norm_silu(const X& x, VectorLike<X> weight, VectorLike<X> bias, Index groups, typename X::value_type eps) {
  return detail::group_norm("group_norm_silu", x, weight, bias, groups, eps, detail::SiluOf{});
}

namespace detail {

/// group_norm_backward of floats, of two passes over memory: sums over a few pixels in float, joined in double and in order, then dx.
/// `before(row, mean, scale)` may change a row of dy when its turn comes: mean and scale are the channels', xhat = (x - mean) scale.
template <class Before>
NormGradients<float, 4> group_norm_backward_passes(TensorView<const float, 4> x, TensorView<const float, 1> weight, Index groups, float eps,
                                                   TensorView<const float, 4> dy, Before&& before) {
  using simd::Batch;
  const Index batch = x.shape[0], channels = x.shape[3], pixels = x.shape[1] * x.shape[2], size = channels / groups;
  const std::vector<Moments> moments = group_moments(x, groups);
  // Of each picture's channels: mean and scale, then what dx = dy factor - (x - mean) slope - level needs beside.
  Tensor<float, 3> of(Shape{batch, Index{5}, channels});
  for (Index b = 0; b < batch; ++b)
    for (Index c = 0; c < channels; ++c) {
      const Moments& m = moments[static_cast<std::size_t>(b * groups + c / size)];
      of(b, 0, c) = static_cast<float>(m.mean);
      of(b, 1, c) = static_cast<float>(1 / std::sqrt(m.squares / m.count + static_cast<double>(eps)));
    }
  const Index grain = moments_grain(channels), chunks = (pixels + grain - 1) / grain;
  Tensor<float, 3> sums(Shape{batch * chunks, Index{2}, channels});  // of dy xhat, and of dy
  parallel_for(batch * chunks, [&](Index piece) {
    const Index b = piece / chunks, begin = piece % chunks * grain, count = std::min(grain, pixels - begin);
    const float *from = x.row(b * pixels + begin), *d = dy.row(b * pixels + begin), *mean = &of(b, 0, 0), *scale = &of(b, 1, 0);
    for (Index p = begin; p < begin + count; ++p) before(b * pixels + p, mean, scale);
    const auto along = [&](Index c, Batch v, Batch g) {
      const Index lanes = std::min(simd::width, channels - c);
      return g * ((v - simd::load(mean + c, lanes)) * simd::load(scale + c, lanes));
    };
    simd::column_sums(count, channels, x.row_stride, &sums(piece, 0, 0), along, from, d);
    simd::column_sums(count, channels, x.row_stride, &sums(piece, 1, 0), [](Index, Batch g) { return g; }, d);
  });
  NormGradients<float, 4> result{Tensor<float, 4>(x.shape), Tensor<float, 1>(Shape{channels}), Tensor<float, 1>(Shape{channels})};
  std::vector<double> dweight(static_cast<std::size_t>(channels)), dbias(dweight.size());
  for (Index b = 0; b < batch; ++b)
    for (Index g = 0; g < groups; ++g) {
      double along = 0, level = 0;
      for (Index c = g * size; c < (g + 1) * size; ++c) {
        double a = 0, l = 0;
        for (Index piece = b * chunks; piece < (b + 1) * chunks; ++piece)
          a += static_cast<double>(sums(piece, 0, c)), l += static_cast<double>(sums(piece, 1, c));
        dweight[static_cast<std::size_t>(c)] += a;
        dbias[static_cast<std::size_t>(c)] += l;
        along += static_cast<double>(weight.data[c]) * a;
        level += static_cast<double>(weight.data[c]) * l;
      }
      const double count = static_cast<double>(size * pixels);
      for (Index c = g * size; c < (g + 1) * size; ++c) {
        const double scale = static_cast<double>(of(b, 1, c));
        of(b, 2, c) = static_cast<float>(scale * static_cast<double>(weight.data[c]));
        of(b, 3, c) = static_cast<float>(scale * scale * along / count);
        of(b, 4, c) = static_cast<float>(scale * level / count);
      }
    }
  for (Index c = 0; c < channels; ++c) {
    result.dweight.data()[c] = static_cast<float>(dweight[static_cast<std::size_t>(c)]);
    result.dbias.data()[c] = static_cast<float>(dbias[static_cast<std::size_t>(c)]);
  }
  for_rows(x.rows(), channels, [&](Index begin, Index end) {
    for (Index p = begin; p < end; ++p) {
      const float* per = &of(p / pixels, 0, 0);
      simd::map(
          channels, result.dx.data() + p * channels,
          [](Batch d, Batch v, Batch mean, Batch factor, Batch slope, Batch level) { return d * factor - (v - mean) * slope - level; },
          dy.row(p), x.row(p), per, per + 2 * channels, per + 3 * channels, per + 4 * channels);
    }
  });
  return result;
}

}  // namespace detail

/// {dx, dweight, dbias} of y = group_norm(x, weight, bias, groups, eps). Per group, with g = dy weight and n numbers:
/// dx = scale (g - mean(g) - xhat mean(g xhat)); dweight = sum dy xhat; dbias = sum dy.
template <TensorLike X, TensorLike Dy>
auto group_norm_backward(const X& input, VectorLike<X> weight, Index groups, typename X::value_type eps,
                         const Dy& gradient) {
  using T = typename X::value_type;
  const TensorView<const T, 4> x = input.view(), dy = gradient.view();
  const Index channels = x.shape[3], pixels = x.shape[1] * x.shape[2], size = channels / std::max<Index>(1, groups);
  detail::require_vector("group_norm_backward", x.shape, "weight", weight.shape);
  detail::require_same("group_norm_backward", x.shape, dy.shape);
  detail::require_equal_groups("group_norm_backward", x.shape, groups);
  if constexpr (detail::vectorised<T>)
    if (x.size() > 0) {
      const auto nothing = [](Index, const float*, const float*) {};
      if (x.row_stride == dy.row_stride) return detail::group_norm_backward_passes(x, weight, groups, eps, dy, nothing);
      const Tensor<T, 4> copy_of_x(x), copy_of_dy(dy);
      return detail::group_norm_backward_passes(copy_of_x.view(), weight, groups, eps, copy_of_dy.view(), nothing);
    }
  NormGradients<T, 4> result{Tensor<T, 4>(x.shape), {}, {}};
  Tensor<T, 2> dweights(Shape{x.shape[0], channels}), dbiases(Shape{x.shape[0], channels});
  parallel_for(x.shape[0] * groups, [&](Index piece) {
    const Index b = piece / groups, first = piece % groups * size;
    const double count = static_cast<double>(size * pixels);
    const auto each_pixel = [&](auto&& f) {
      for (Index p = b * pixels; p < (b + 1) * pixels; ++p) f(x.row(p) + first, dy.row(p) + first, p);
    };
    double sum = 0, squares = 0, along = 0, level = 0;
    each_pixel([&](const T* v, const T*, Index) {
      for (Index c = 0; c < size; ++c) sum += static_cast<double>(v[c]);
    });
    const T mean = static_cast<T>(sum / count);
    each_pixel([&](const T* v, const T*, Index) {
      for (Index c = 0; c < size; ++c) squares += static_cast<double>((v[c] - mean) * (v[c] - mean));
    });
    const T scale = static_cast<T>(1 / std::sqrt(squares / count + static_cast<double>(eps)));
    std::vector<double> dweight(static_cast<std::size_t>(size)), dbias(static_cast<std::size_t>(size));
    each_pixel([&](const T* v, const T* d, Index) {
      for (Index c = 0; c < size; ++c) {
        dweight[static_cast<std::size_t>(c)] += static_cast<double>(d[c] * (v[c] - mean) * scale);
        dbias[static_cast<std::size_t>(c)] += static_cast<double>(d[c]);
      }
    });
    for (Index c = 0; c < size; ++c) {
      const double w = static_cast<double>(weight.data[first + c]);
      along += w * dweight[static_cast<std::size_t>(c)];
      level += w * dbias[static_cast<std::size_t>(c)];
      dweights(b, first + c) = static_cast<T>(dweight[static_cast<std::size_t>(c)]);
      dbiases(b, first + c) = static_cast<T>(dbias[static_cast<std::size_t>(c)]);
    }
    const T mean_along = static_cast<T>(along / count), mean_level = static_cast<T>(level / count);
    each_pixel([&](const T* v, const T* d, Index p) {
      T* to = result.dx.data() + p * channels + first;
      for (Index c = 0; c < size; ++c)
        to[c] = scale * (d[c] * weight.data[first + c] - mean_level - (v[c] - mean) * scale * mean_along);
    });
  });
  result.dweight = detail::sum_of_rows(dweights);
  result.dbias = detail::sum_of_rows(dbiases);
  return result;
}

/// {dx, dweight, dbias} of y = group_norm_silu(x, weight, bias, groups, eps); dy is used up. The normalised picture is worked out again.
template <TensorLike X, class T>
NormGradients<T, 4> group_norm_silu_backward(const X& input, VectorLike<X> weight, VectorLike<X> bias, Index groups, T eps, Tensor<T, 4> dy) {
  const TensorView<const T, 4> x = input.view();
  detail::require_same("group_norm_silu_backward", x.shape, dy.shape());
  detail::require_groups<T>("group_norm_silu_backward", x.shape, weight, bias, groups);
  const auto slope = [](auto h, auto d) { return d * detail::SiluSlope{}(h); };
  if constexpr (detail::vectorised<T>)
    if (x.size() > 0) {
      if (!x.contiguous()) return group_norm_silu_backward(Tensor<T, 4>(x), weight, bias, groups, eps, std::move(dy));
      const auto through_silu = [&](Index row, const float* mean, const float* scale) {
        const auto change = [&](simd::Batch d, simd::Batch v, simd::Batch m, simd::Batch s, simd::Batch w, simd::Batch b) {
          return slope(simd::multiply_add((v - m) * s, w, b), d);
        };
        float* const to = dy.data() + row * x.shape[3];
        simd::map(x.shape[3], to, change, to, x.row(row), mean, scale, weight.data, bias.data);
      };
      return detail::group_norm_backward_passes(x, weight, groups, eps, std::as_const(dy).view(), through_silu);
    }
  const auto h = group_norm(x, weight, bias, groups, eps);
  detail::map_into(dy.view(), slope, h.view(), std::as_const(dy).view());
  return group_norm_backward(x, weight, groups, eps, dy);
}

}  // namespace janusflow
