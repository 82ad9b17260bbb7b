// Winograd's convolution: squares of outputs by a half to a quarter of the products, and sums of some inputs in place of the rest.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>

#include "janusflow/ops/gemm.hpp"
#include "janusflow/ops/word_picture.hpp"

namespace janusflow::detail {

/// One side of F(out x out, taps x taps) (Winograd 1980; Lavin and Gray 2015, arXiv 1509.09308): the outputs of a filter of two or three taps
/// on six inputs are `outputs` of the products, number by number, of `inputs` and `weights`. By Toom and Cook's points 0, 3/4, -3/4, 3/2, -3/2
/// and infinity; with the usual 1 and 2 for 3/4 and 3/2 errors are larger (on the choice: Barabasz et al. 2018, arXiv 1803.10986).
template <int taps>
struct Winograd {
  static constexpr Index in = 6, out = in + 1 - taps, products = in * in;
  static constexpr float a = 0.75f, b = 1.5f, a2 = a * a, b2 = b * b;

  template <class T>
  [[gnu::always_inline]] static void inputs(const T (&d)[in], T (&r)[in]) {
    const T even_a = multiply_add(d[2], T(-b2), d[4]), odd_a = T(a) * multiply_add(d[1], T(-b2), d[3]);
    const T even_b = multiply_add(d[2], T(-a2), d[4]), odd_b = T(b) * multiply_add(d[1], T(-a2), d[3]);
    r[0] = multiply_add(d[0], T(a2 * b2), multiply_add(d[2], T(-a2 - b2), d[4]));
    r[1] = even_a + odd_a, r[2] = even_a - odd_a;
    r[3] = even_b + odd_b, r[4] = even_b - odd_b;
    r[5] = multiply_add(d[1], T(a2 * b2), multiply_add(d[3], T(-a2 - b2), d[5]));
  }
  template <class T>
  [[gnu::always_inline]] static void weights(const T (&g)[taps], T (&r)[in]) {
    const T of_a(1 / (2 * a2 * (a2 - b2))), of_b(1 / (2 * b2 * (b2 - a2)));
    T even_a = g[0], even_b = g[0];
    if constexpr (taps == 3) even_a = multiply_add(g[2], T(a2), even_a), even_b = multiply_add(g[2], T(b2), even_b);
    r[0] = T(1 / (a2 * b2)) * g[0];
    r[1] = of_a * multiply_add(g[1], T(a), even_a), r[2] = of_a * multiply_add(g[1], T(-a), even_a);
    r[3] = of_b * multiply_add(g[1], T(b), even_b), r[4] = of_b * multiply_add(g[1], T(-b), even_b);
    r[5] = g[taps - 1];
  }
  template <class T>
  [[gnu::always_inline]] static void outputs(const T (&m)[in], T (&y)[out]) {
    const T even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = multiply_add(odd_b, T(b), T(a) * odd_a);
    y[2] = multiply_add(even_b, T(b2), T(a2) * even_a);
    y[3] = multiply_add(odd_b, T(b * b2), T(a * a2) * odd_a);
    if constexpr (taps == 2) y[4] = multiply_add(even_b, T(b2 * b2), T(a2 * a2) * even_a);
    y[out - 1] = y[out - 1] + m[5];
  }

  /// put(i, j, number) of the square [From][From] of get(i, j), mapped along both sides by `map`.
  template <Index From, Index To, class T, class Map, class Get, class Put>
  [[gnu::always_inline]] static void both_sides(Map map, Get get, Put put) {
    T between[To][From];
#pragma GCC unroll 6
    for (Index j = 0; j < From; ++j) {
      T x[From], y[To];
#pragma GCC unroll 6
      for (Index i = 0; i < From; ++i) x[i] = get(i, j);
      map(x, y);
#pragma GCC unroll 6
      for (Index i = 0; i < To; ++i) between[i][j] = y[i];
    }
#pragma GCC unroll 6
    for (Index i = 0; i < To; ++i) {
      T y[To];
      map(between[i], y);
#pragma GCC unroll 6
      for (Index j = 0; j < To; ++j) put(i, j, y[j]);
    }
  }

 private:
  static simd::Batch multiply_add(simd::Batch x, simd::Batch y, simd::Batch z) { return simd::multiply_add(x, y, z); }
  static double multiply_add(double x, double y, double z) { return x * y + z; }
};

/// Whether a policy's input words are floats, which float32's products multiply.
template <class Dot>
inline constexpr bool words_are_floats = sizeof(typename Dot::InputWord) == Dot::depth * sizeof(float);

/// The side of the squares of outputs that conv2d computes by this filter on lines of so many: 1 unless Winograd's way is worth it, which it
/// is where products are float32's. A matter of the line alone, so that a picture's strips go as all of it does.
template <class Dot>
Index square_of_outputs(const PackedFilter<Dot>& filter, const ConvGeometry& geometry, Index out_width) {
  const Index kernel = filter.kernel();
  const bool worth_it = words_are_floats<Dot> && (kernel == 2 || kernel == 3) && geometry.stride == 1 &&
                        filter.in_channels() % simd::panel_chunk == 0 && std::min({filter.in_channels(), filter.out_channels(), out_width}) >= 32;
  return !worth_it ? 1 : kernel == 3 ? Winograd<3>::out : Winograd<2>::out;
}

/// A filter's weights [out, in, taps, taps], transformed: matrices [out, in] packed for each of the products, or a part of them. Made anew for
/// every convolution, since they take many times the memory.
template <int taps>
class WinogradFilter {
 public:
  using Transform = Winograd<taps>;

  /// f(part) for some parts of a filter, one after the other, of some 20 MB at most: where caches hold that, they hold a part.
  template <class Dot, class F>
  static void for_parts(const PackedFilter<Dot>& filter, F&& f) {
    constexpr Index most = Index{20} << 20, whole = std::max(simd::panel_columns, simd::tile_columns);  // blocks and pairs of panels
    const Index out = filter.out_channels(), bytes = Transform::products * filter.in_channels() * static_cast<Index>(sizeof(float));
    const Index wholes = (out + whole - 1) / whole, parts = std::min(wholes, (out * bytes + most - 1) / most);
    for (Index part = 0; part < parts; ++part)
      f(WinogradFilter(filter, part * wholes / parts * whole, std::min(out, (part + 1) * wholes / parts * whole)));
  }

  Index in_channels() const { return in_; }
  /// The pairs of panels of the part, numbered as the filter's, and those of one product.
  Index first_pair() const { return first_ / simd::tile_columns; }
  Index last_pair() const { return (last_ + simd::tile_columns - 1) / simd::tile_columns; }
  simd::PanelPair<float> at(Index pair, Index product) const {
    const Index column = pair * simd::tile_columns - first_, last = (last_ - first_ - 1) / simd::width * simd::width;
    return {panel(column, product), panel(std::min(column + simd::width, last), product)};
  }

 private:
  static constexpr Index padding = 16;  // so that what is written for one product after the other does not meet in few sets of a cache

  /// Outputs [first, last), from a whole block on.
  template <class Dot>
  WinogradFilter(const PackedFilter<Dot>& filter, Index first, Index last)
      : in_(filter.in_channels()), first_(first), last_(last), stride_(in_ * simd::panel_columns + padding) {
    constexpr Index columns = simd::panel_columns, together = simd::panel_chunk;  // channels of a piece
    const Index words = filter.words(), pieces = in_ / together, blocks = (last - first + columns - 1) / columns;
    storage_ = Buffer(static_cast<std::size_t>(blocks * Transform::products * stride_) * sizeof(float));
    parallel_for(blocks * pieces, [&](Index piece) {
      const Index block = piece / pieces, begin = piece % pieces * together;
      const auto* const from = filter.matrix().storage().data() + (first / columns + block) * taps * taps * words * columns;
      float* const to = static_cast<float*>(storage_.data()) + block * Transform::products * stride_;
      for (Index c = begin; c < begin + together; ++c)
        for (Index column = 0; column < columns; column += simd::width)
          Transform::template both_sides<taps, Transform::in, simd::Batch>(
              [](const auto& g, auto& r) { Transform::weights(g, r); },
              [&](Index i, Index j) { return values<Dot>(from + ((taps * i + j) * words + c / Dot::depth) * columns + column, c % Dot::depth); },
              [&](Index i, Index j, simd::Batch r) { r.store_aligned(to + (Transform::in * i + j) * stride_ + c * columns + column); });
    });
  }

  /// The panel that begins with a column of the part.
  const float* panel(Index column, Index product) const {
    const Index block = column / simd::panel_columns;
    return static_cast<const float*>(storage_.data()) + (block * Transform::products + product) * stride_ + column % simd::panel_columns;
  }
  /// The values of number `which` in each of a vector of words.
  template <class Dot>
  static simd::Batch values(const typename Dot::WeightWord* words, [[maybe_unused]] Index which) {
    if constexpr (Dot::depth == 1) {
      return simd::Batch::load_aligned(words);
    } else {
      const auto pairs = simd::WordBatch::load_aligned(words);
      return simd::reinterpret<simd::Batch>(which == 0 ? pairs << 16 : pairs & simd::WordBatch(0xffff0000u));
    }
  }

  Index in_, first_, last_, stride_;
  Buffer storage_;
};

/// A square's inputs, lines of pixels `pixel` floats apart, transformed: r is the square's row in a panel of `rows`, one product's inputs
/// `stride` floats behind the other's. (Functions of their own, for they unfold to much code, which neither a policy nor an epilogue changes.)
inline void transform_inputs(const float* const* lines, Index pixel, Index channels, float* r, Index rows, Index stride) {
  constexpr Index in = Winograd<3>::in, chunk = simd::panel_chunk;
  for (Index c = 0; c < channels; c += simd::width)
    Winograd<3>::both_sides<in, in, simd::Batch>(
        [](const auto& d, auto& t) { Winograd<3>::inputs(d, t); },
        [&](Index i, Index j) { return simd::Batch::load_unaligned(lines[i] + j * pixel + c); },
        [&](Index i, Index j, simd::Batch t) { t.store_aligned(r + (in * i + j) * stride + c / chunk * chunk * rows + c % chunk); });
}

/// The square [out][out][tile_columns] of a pair's products, one `stride` floats behind the other.
template <int taps>
void transform_outputs(const float* sums, Index stride, float* square) {
  using Transform = Winograd<taps>;
  constexpr Index columns = simd::tile_columns;
  for (Index half = 0; half < columns; half += simd::width)
    Transform::template both_sides<Transform::in, Transform::out, simd::Batch>(
        [](const auto& m, auto& y) { Transform::outputs(m, y); },
        [&](Index i, Index j) { return simd::Batch::load_aligned(sums + (Transform::in * i + j) * stride + half); },
        [&](Index i, Index j, simd::Batch y) { y.store_aligned(square + (Transform::out * i + j) * columns + half); });
}

/// convolve, below, of a picture whose line y of picture b is at line_at(b, y), `pixel` floats a pixel: compiled once for all policies and
/// epilogues.
template <int taps>
void convolve_squares(const std::function<const float*(Index b, Index y)>& line_at, Index pixel, const WinogradFilter<taps>& weight,
                      const ConvGeometry& geometry, Index out_height, Index out_width, Lines lines,
                      const std::function<void(Index row, Index rows, Index pair, const float* tile)>& epilogue) {
  constexpr Index in = Winograd<taps>::in, out = Winograd<taps>::out, products = Winograd<taps>::products;
  constexpr Index chunk = simd::panel_chunk, columns = simd::tile_columns, tile_rows = simd::tile_rows;
  if (lines.begin == lines.end || out_width == 0) return;
  const Index channels = weight.in_channels();
  // Squares from left to right, then line after line and picture after picture, in panels of the product. To a piece belong as many as have
  // inputs that stay in a second-level cache, but enough to be worth a passage over all weights.
  const Index top = lines.begin - lines.begin % out_height % out;
  const Index height = std::min(lines.end - top, out_height), pictures = (lines.end - top) / height;
  const Index across = (out_width + out - 1) / out, down = (height + out - 1) / out, squares = pictures * down * across;
  const Index panels = (squares + tile_rows - 1) / tile_rows, threads = num_threads();
  const Index fitting = (Index{1} << 20) / (products * channels * static_cast<Index>(sizeof(float)));
  const Index share = (std::max<Index>(48, fitting) + tile_rows - 1) / tile_rows * threads;  // panels of a piece for every thread
  const Index pieces = std::min(panels, (panels + share - 1) / share * threads);
  // The first line, counted over the batch, and pixel of a square's outputs.
  const auto place = [&](Index square) {
    const Index line = square / across;
    return std::pair{top + line / down * out_height + line % down * out, square % across * out};
  };
  parallel_for(pieces, [&](Index piece) {
    const Index first = piece * panels / pieces * tile_rows, count = std::min(squares, (piece + 1) * panels / pieces * tile_rows) - first;
    const Index stride = count * channels + chunk;  // of a product's inputs; the chunk as WinogradFilter's padding
    const Buffer input_memory(static_cast<std::size_t>(products * stride) * sizeof(float));
    const Buffer sum_memory(static_cast<std::size_t>(count * products * columns) * sizeof(float));
    float *const inputs = static_cast<float*>(input_memory.data()), *const sums = static_cast<float*>(sum_memory.data());
    // f(panel, rows, r, line, x) for all squares of the piece: r of the `rows` squares from `panel` on, and its place.
    const auto for_squares = [&](auto&& f) {
      for (Index panel = 0; panel < count; panel += tile_rows) {
        const Index rows = std::min<Index>(tile_rows, count - panel);
        for (Index r = 0; r < rows; ++r) {
          const auto [line, x] = place(first + panel + r);
          f(panel, rows, r, line, x);
        }
      }
    };
    for_squares([&](Index panel, Index rows, Index r, Index line, Index x) {
      const float* from[in];
      for (Index i = 0; i < in; ++i)
        from[i] = line_at(line / out_height, line % out_height - geometry.top + i) + (x - geometry.left) * pixel;
      transform_inputs(from, pixel, channels, inputs + panel * channels + r * chunk, rows, stride);
    });
    for (Index pair = weight.first_pair(); pair < weight.last_pair(); ++pair) {
      for (Index product = 0; product < products; ++product)
        for (Index panel = 0; panel < count; panel += tile_rows) {
          const Index rows = std::min<Index>(tile_rows, count - panel);
          simd::gemm_tile_for<simd::Float32Dot>(rows)(channels, inputs + product * stride + panel * channels, {weight.at(pair, product)},
                                                      sums + (panel * products + product * rows) * columns, simd::Sums::begin);
        }
      for_squares([&](Index panel, Index rows, Index r, Index line, Index x) {
        alignas(64) float square[out][out * columns];
        transform_outputs<taps>(sums + (panel * products + r) * columns, rows * columns, square[0]);
        const Index end = std::min(lines.end, (line / out_height + 1) * out_height);
        for (Index i = std::max(Index{0}, lines.begin - line); i < std::min(out, end - line); ++i)
          epilogue((line + i) * out_width + x, std::min(out, out_width - x), pair, square[i]);
      });
    }
    simd::finish_streaming();  // the epilogue may have
  });
}

/// convolve (conv2d.hpp) a square of outputs at a time, for stride 1: each of a square's products is summed over the channels in order. Squares
/// are counted from their picture's corner, and whole ones are computed; the picture has the lines, and pixels of a line, that these read.
template <class Dot, int taps, class Epilogue>
void convolve(const WordPicture<Dot>& picture, const WinogradFilter<taps>& weight, const ConvGeometry& geometry, Index out_height, Index out_width,
              Lines lines, const Epilogue& epilogue) {
  static_assert(words_are_floats<Dot>);
  const auto line = [&](Index b, Index y) { return reinterpret_cast<const float*>(picture.line(b, y)); };
  convolve_squares<taps>(line, picture.words() * Dot::depth, weight, geometry, out_height, out_width, lines, std::cref(epilogue));
}

}  // namespace janusflow::detail
