// Convolutions by squares of outputs: the transforms themselves, their bound, and equal bytes however a picture is cut.
#include "janusflow/ops/winograd.hpp"

#include <array>
#include <limits>
#include <vector>

#include "janusflow/ops/conv2d.hpp"
#include "janusflow/ops/elementwise.hpp"
#include "janusflow/ops/pixel_shuffle.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;
using jf::ConvGeometry;
using jf::detail::Winograd;
using jf::simd::BFloat16Dot;
using jf::simd::Float32Dot;

namespace {

template <class Filter = jf::PackedFilter<Float32Dot>>
Filter packed_as(const Tensor<float, 4>& w) {
  Filter filter(w.shape()[0], w.shape()[1], w.shape()[2]);
  filter.pack(w.view());
  return filter;
}

/// The matrix of a linear map of From numbers to To.
template <Index From, Index To, class Map>
std::array<std::array<double, From>, To> matrix_of(Map map) {
  std::array<std::array<double, From>, To> matrix;
  for (Index j = 0; j < From; ++j) {
    double x[From] = {}, y[To];
    x[j] = 1;
    map(x, y);
    for (Index i = 0; i < To; ++i) matrix[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] = y[i];
  }
  return matrix;
}

/// convolve's sums for one filter of weights [out, in, taps, taps] in double, by the transforms' matrices: with `sizes`, every factor without
/// its sign, which errors are proportional to.
template <int taps>
Tensor<double, 4> by_squares(const Tensor<double, 4>& x, const Tensor<double, 4>& w, ConvGeometry geometry, bool sizes) {
  using Transform = Winograd<taps>;
  constexpr Index in = Transform::in, out = Transform::out;
  auto inputs = matrix_of<in, in>([](const auto& d, auto& r) { Transform::inputs(d, r); });
  auto weights = matrix_of<taps, in>([](const auto& g, auto& r) { Transform::weights(g, r); });
  auto outputs = matrix_of<in, out>([](const auto& m, auto& y) { Transform::outputs(m, y); });
  const auto number = [&](double v) { return sizes ? std::abs(v) : v; };
  for (auto& row : inputs) for (double& v : row) v = number(v);
  for (auto& row : weights) for (double& v : row) v = number(v);
  for (auto& row : outputs) for (double& v : row) v = number(v);
  // rows . square . rowsT
  const auto both = [](const auto& rows, auto square) {
    constexpr std::size_t from = std::tuple_size_v<std::remove_cvref_t<decltype(rows[0])>>;
    const std::size_t to = rows.size();
    std::array<std::array<double, in>, in> half{}, all{};
    for (std::size_t i = 0; i < to; ++i)
      for (std::size_t j = 0; j < from; ++j)
        for (std::size_t k = 0; k < from; ++k) half[i][j] += rows[i][k] * square(static_cast<Index>(k), static_cast<Index>(j));
    for (std::size_t i = 0; i < to; ++i)
      for (std::size_t j = 0; j < to; ++j)
        for (std::size_t k = 0; k < from; ++k) all[i][j] += half[i][k] * rows[j][k];
    return all;
  };
  const Index batch = x.shape()[0], height = x.shape()[1], width = x.shape()[2], channels = x.shape()[3];
  const Index out_height = height + geometry.top + geometry.bottom - taps + 1, out_width = width + geometry.left + geometry.right - taps + 1;
  const Index filters = w.shape()[0];
  std::vector<std::array<std::array<double, in>, in>> g, d(static_cast<std::size_t>(channels));
  for (Index o = 0; o < filters; ++o)
    for (Index c = 0; c < channels; ++c) g.push_back(both(weights, [&](Index i, Index j) { return number(w(o, c, i, j)); }));
  Tensor<double, 4> y(Shape{batch, out_height, out_width, filters});
  for (Index b = 0; b < batch; ++b)
    for (Index top = 0; top < out_height; top += out)
      for (Index left = 0; left < out_width; left += out) {
        for (Index c = 0; c < channels; ++c)
          d[static_cast<std::size_t>(c)] = both(inputs, [&](Index i, Index j) {
            const Index py = top + i - geometry.top, px = left + j - geometry.left;
            return py < 0 || py >= height || px < 0 || px >= width ? 0.0 : number(x(b, py, px, c));
          });
        for (Index o = 0; o < filters; ++o) {
          std::array<std::array<double, in>, in> products{};
          for (std::size_t c = 0; c < d.size(); ++c)
            for (std::size_t i = 0; i < in; ++i)
              for (std::size_t j = 0; j < in; ++j) products[i][j] += g[static_cast<std::size_t>(o) * d.size() + c][i][j] * d[c][i][j];
          const auto square = both(outputs, [&](Index i, Index j) { return products[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)]; });
          for (Index i = 0; i < std::min(out, out_height - top); ++i)
            for (Index j = 0; j < std::min(out, out_width - left); ++j)
              y(b, top + i, left + j, o) = square[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
        }
      }
  return y;
}
Tensor<double, 4> by_squares(const Tensor<double, 4>& x, const Tensor<double, 4>& w, ConvGeometry geometry, bool sizes) {
  return w.shape()[2] == 3 ? by_squares<3>(x, w, geometry, sizes) : by_squares<2>(x, w, geometry, sizes);
}

/// docs/numerics.md: of the inputs 4 roundings a side (without fused multiply-adds), of the weights 5 and of the outputs 4, of the sum one a
/// channel and one more, of the bias one.
double roundings(Index channels) { return static_cast<double>(channels + 1) + 2 * (4 + 5 + 4) + 1; }

/// Numbers of very different sizes, some zeros: what hides an error in its neighbours' company.
Tensor<float, 4> uneven(Shape<4> shape, unsigned seed) {
  auto x = random_tensor<float>(shape, seed);
  std::mt19937 twister(seed + 1);
  for (float& v : x) {
    const auto choice = twister() % 8;
    v = choice == 0 ? 0.0f : choice == 1 ? v * 1e4f : v;
  }
  return x;
}

template <class Dot>
Tensor<float, 4> rounded(Tensor<float, 4> x) {
  for (float& v : x) v = static_cast<float>(static_cast<typename Dot::Value>(v));
  return x;
}

}  // namespace

TEST_CASE("winograd: the transforms are those of a correlation") {
  const auto check = []<int taps>(std::integral_constant<int, taps>) {
    const auto x = cast<double>(random_tensor<float>(Shape{Index{2}, Index{9}, Index{11}, Index{3}}, 1));
    const auto w = cast<double>(random_tensor<float>(Shape{Index{2}, Index{3}, Index{taps}, Index{taps}}, 2));
    const ConvGeometry geometry{1, 1, 0, 0, 2};
    const auto exact = jf::reference::conv2d(x, w, Tensor<double, 1>{}, geometry), y = by_squares<taps>(x, w, geometry, false);
    // 1 / 1.265625 and its like are constants of float32.
    CHECK(worst_ratio(y, exact, [](Index) { return 100 * eps32; }) <= 1);
  };
  check(std::integral_constant<int, 2>());
  check(std::integral_constant<int, 3>());
}

TEST_CASE_TEMPLATE("winograd: conv2d within its bound of double", Dot, Float32Dot, BFloat16Dot) {
  const std::vector<std::pair<Index, ConvGeometry>> kinds{{3, ConvGeometry::same(3)}, {3, {}}, {3, {1, 0, 2, 5, 0}}, {2, {1, 1, 0, 0, 1}}, {2, {}}};
  for (const auto& kind : kinds)
    for (const Index width : {34, 41})
      for (const Index in : {32, 48}) {
        const Index kernel = kind.first, out = in == 32 ? 32 : 35;
        const ConvGeometry geometry = kind.second;
        CAPTURE(kernel);
        CAPTURE(width);
        CAPTURE(in);
        const auto x = rounded<Dot>(uneven(Shape{Index{2}, width == 34 ? Index{3} : Index{7}, width, in}, 1));
        const auto w = rounded<Dot>(random_tensor<float>(Shape{out, in, kernel, kernel}, 2));
        const auto bias = random_tensor<float>(Shape{out}, 3);
        const auto filter = packed_as<jf::PackedFilter<Dot>>(w);
        if (jf::detail::square_of_outputs(filter, geometry, 32) == 1) continue;  // this machine multiplies bfloat16 itself
        const auto y = jf::conv2d(x, filter, bias, geometry);
        const auto exact = jf::reference::conv2d(cast<double>(x), cast<double>(w), cast<double>(bias), geometry);
        const auto size = by_squares(cast<double>(x), cast<double>(w), geometry, true);
        const double ratio = worst_ratio(y, exact, [&](Index i) { return roundings(in) * eps32 * (size.data()[i] + std::abs(bias(i % out))); });
        CHECK(ratio <= 1);
        CHECK(ratio > 1e-4);  // another way, or a bound of something else
      }
}

TEST_CASE("winograd: behind a doubling within its bound of double") {
  const Index in = 32, out = 33;
  const auto x = uneven(Shape{Index{2}, Index{6}, Index{33}, in}, 1);
  const auto w = random_tensor<float>(Shape{out, in, Index{3}, Index{3}}, 2);
  const auto bias = random_tensor<float>(Shape{out}, 3);
  const auto y = jf::upsample_conv2d(x, packed_as<jf::UpsampleFilter<Float32Dot>>(w), bias);
  const auto exact = jf::reference::conv2d(jf::upsample_nearest2x(cast<double>(x)), cast<double>(w), cast<double>(bias), ConvGeometry::same(3));
  double worst = 0;
  for (Index row = 0; row < 2; ++row)
    for (Index column = 0; column < 2; ++column) {
      Tensor<double, 4> folded(Shape{out, in, Index{2}, Index{2}}, 0.0);
      const auto tap = [](Index phase, Index k) { return phase == 0 ? std::min<Index>(k, 1) : k / 2; };
      for (Index o = 0; o < out; ++o)
        for (Index c = 0; c < in; ++c)
          for (Index i = 0; i < 3; ++i)
            for (Index j = 0; j < 3; ++j) folded(o, c, tap(row, i), tap(column, j)) += std::abs(static_cast<double>(w(o, c, i, j)));
      const auto size = by_squares(cast<double>(x), folded, {1, 1 - row, 1 - column, row, column}, true);
      for (Index b = 0; b < 2; ++b)
        for (Index i = 0; i < 6; ++i)
          for (Index j = 0; j < 33; ++j)
            for (Index o = 0; o < out; ++o) {
              const double error = std::abs(static_cast<double>(y(b, 2 * i + row, 2 * j + column, o)) - exact(b, 2 * i + row, 2 * j + column, o));
              worst = std::max(worst, error / ((roundings(in) + 3) * eps32 * (size(b, i, j, o) + std::abs(static_cast<double>(bias(o))))));
            }
    }
  CHECK(worst <= 1);
  CHECK(worst > 1e-4);
}

TEST_CASE_TEMPLATE("winograd: onto a picture is the sum", Dot, Float32Dot, BFloat16Dot) {
  const auto x = random_tensor<float>(Shape{Index{2}, Index{13}, Index{37}, Index{32}}, 7);
  const auto filter = packed_as<jf::PackedFilter<Dot>>(random_tensor<float>(Shape{Index{40}, Index{32}, Index{3}, Index{3}}, 8));
  const auto ones = random_tensor<float>(Shape{Index{32}}, 4);
  const auto read = jf::silu_of_group_norm(x, ones, ones, 2, 1e-6f);
  const auto y = jf::conv2d(read, filter, {}, ConvGeometry::same(3)), residual = random_tensor<float>(y.shape(), 10);
  CHECK(same_bytes(jf::conv2d_onto(residual.clone(), read, filter, {}, ConvGeometry::same(3)), residual + y));
}

TEST_CASE("winograd: what docs/numerics.md says of the bound and of the errors found") {
  const auto mean_size = [](Index taps) {  // S / sum |x w| of ones, where squares see no border
    const Index side = taps == 3 ? 8 : 10;
    const Tensor<double, 4> x(Shape{Index{1}, side + taps - 1, side + taps - 1, Index{1}}, 1.0), w(Shape{Index{1}, Index{1}, taps, taps}, 1.0);
    double sum = 0;
    for (const double v : by_squares(x, w, {}, true)) sum += v;
    return sum / static_cast<double>(side * side * taps * taps);
  };
  CHECK(std::lround(mean_size(3)) == 52);
  CHECK(std::lround(mean_size(2)) == 56);
  const auto x = random_tensor<float>(Shape{Index{1}, Index{16}, Index{48}, Index{128}}, 1);
  const auto w = random_tensor<float>(Shape{Index{32}, Index{128}, Index{3}, Index{3}}, 2);
  const auto same = ConvGeometry::same(3);
  const auto size = [](auto y) {
    for (double& v : y) v = std::abs(v);
    return y;
  };
  const auto exact = jf::reference::conv2d(cast<double>(x), cast<double>(w), Tensor<double, 1>{}, same);
  const auto sum = jf::reference::conv2d(size(cast<double>(x)), size(cast<double>(w)), Tensor<double, 1>{}, same);
  CHECK(worst_ratio(jf::conv2d(x, packed_as<>(w), {}, same), exact, [&](Index i) { return 9 * eps32 * sum.data()[i]; }) <= 1);
}

TEST_CASE_TEMPLATE("winograd: a picture of several strips gives the bytes of its squares' lines alone", Dot, Float32Dot, BFloat16Dot) {
  // Lines of 256 KB in float32: strips of 32 lines, of which 28 are whole squares.
  const Index channels = 64, width = 1024, height = 71;
  const auto filter = packed_as<jf::PackedFilter<Dot>>(random_tensor<float>(Shape{Index{32}, channels, Index{3}, Index{3}}, 2));
  const auto x = random_tensor<float>(Shape{Index{1}, height, width, channels}, 1);
  const auto y = jf::conv2d(x, filter, {}, ConvGeometry::same(3));
  for (Index row = 0; row < height; row += 4) {
    const Index rows = std::min<Index>(4, height - row), begin = std::max<Index>(0, row - 1), end = std::min(height, row + rows + 1);
    Tensor<float, 4> lines(Shape{Index{1}, end - begin, width, channels});
    std::copy_n(&x(0, begin, 0, 0), lines.size(), lines.data());
    const auto alone = jf::conv2d(lines, filter, {}, {1, begin - row + 1, 1, row + rows + 1 - end, 1});
    REQUIRE(alone.shape() == Shape<4>{{1, rows, width, 32}});
    REQUIRE(std::equal(alone.begin(), alone.end(), &y(0, row, 0, 0)));
  }
}

TEST_CASE("winograd: what is not finite spoils its square, and no other") {
  auto x = random_tensor<float>(Shape{Index{1}, Index{12}, Index{40}, Index{32}}, 1);
  const auto filter = packed_as<>(random_tensor<float>(Shape{Index{32}, Index{32}, Index{3}, Index{3}}, 2));
  const auto before = jf::conv2d(x, filter, {}, ConvGeometry::same(3));
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    x(0, 5, 9, 3) = value;  // seen by outputs 4 to 6, 8 to 10, of the squares from 4, 4 to 8 and from 4, 8 to 12
    const auto y = jf::conv2d(x, filter, {}, ConvGeometry::same(3));
    for (Index i = 0; i < 12; ++i)
      for (Index j = 0; j < 40; ++j) {
        if (i >= 4 && i <= 6 && j >= 8 && j <= 10) CHECK_FALSE(std::isfinite(y(0, i, j, 0)));
        if (i < 4 || i > 7 || j < 8 || j > 11) CHECK(y(0, i, j, 0) == before(0, i, j, 0));
      }
  }
}
