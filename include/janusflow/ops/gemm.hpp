// The one matrix product: packed inputs times packed weights, with what follows the product applied while the tile is in cache.
#pragma once

#include <utility>

#include "janusflow/ops/packed.hpp"

namespace janusflow {

/// Two weight panels at a time, as a tile wants them: neighbours of one matrix.
template <class Dot>
class PanelPairs {
 public:
  explicit PanelPairs(const PackedMatrix<Dot>& weight) : weight(weight) {}

  Index words() const { return weight.words(); }
  Index count() const { return (weight.panels() + 1) / 2; }
  const auto* first(Index pair) const { return weight.panel(2 * pair); }
  const auto* second(Index pair) const { return weight.panel(neighbour(pair)); }
  /// Scales and corrections of the tile's first or second half.
  auto quantisation(Index pair, Index half) const {
    const Index panel = half == 0 ? 2 * pair : neighbour(pair);
    return std::pair{weight.scales(panel), weight.corrections(panel)};
  }

 private:
  /// The last panel of an odd number stands in for its missing neighbour; the epilogue ignores the columns past the end.
  Index neighbour(Index pair) const { return std::min(2 * pair + 1, weight.panels() - 1); }

  const PackedMatrix<Dot>& weight;
};

/// The same panel of two matrices: gate beside up, for SwiGLU.
template <class Dot>
struct PanelTwins {
  const PackedMatrix<Dot>& left;
  const PackedMatrix<Dot>& right;

  Index words() const { return left.words(); }
  Index count() const { return left.panels(); }
  const auto* first(Index pair) const { return left.panel(pair); }
  const auto* second(Index pair) const { return right.panel(pair); }
  auto quantisation(Index pair, Index half) const {
    const PackedMatrix<Dot>& weight = half == 0 ? left : right;
    return std::pair{weight.scales(pair), weight.corrections(pair)};
  }
};

namespace detail {

/// Turns the integer sums of a tile into floats: (sum - correction) times the column's and the row's scale.
template <class Pairs, class RowScale>
void dequantise(float* tile, Index row, Index rows, const Pairs& pairs, Index pair, RowScale&& row_scale) {
  for (Index half = 0; half < 2; ++half) {
    const auto [scales, corrections] = pairs.quantisation(pair, half);
    const auto correction = simd::IntegerBatch::load_unaligned(corrections);
    const auto column_scale = simd::Batch::load_unaligned(scales);
    for (Index r = 0; r < rows; ++r) {
      float* values = tile + r * simd::tile_columns + half * simd::width;
      const auto sums = simd::reinterpret<simd::IntegerBatch>(simd::Batch::load_aligned(values)) - correction;
      (xsimd::to_float(sums) * (column_scale * simd::Batch(row_scale(row + r)))).store_aligned(values);
    }
  }
}

}  // namespace detail

/// One block of the product on one thread: input rows [begin, end) (begin on a panel boundary) times pairs [first, last).
/// `panel(row)` gives the input panel that starts at a row; finish(row, rows, pair, tile) makes floats of a tile's sums where they
/// are none yet. The epilogue is called as epilogue(row, rows, pair, tile), tile [rows][2 width] floats.
template <class Dot, class Panels, class Pairs, class Epilogue, class Finish>
void gemm_block(Index begin, Index end, Panels&& panel, const Pairs& pairs, Index first, Index last, Epilogue&& epilogue,
                Finish&& finish) {
  alignas(64) float tile[simd::tile_rows * simd::tile_columns];
  for (Index pair = first; pair < last; ++pair) {
    const auto* b0 = pairs.first(pair);
    const auto* b1 = pairs.second(pair);
    for (Index row = begin; row < end; row += simd::tile_rows) {
      const Index rows = std::min<Index>(simd::tile_rows, end - row);
      simd::gemm_tile_for<Dot>(rows)(pairs.words(), panel(row), b0, b1, tile);
      finish(row, rows, pair, tile);
      epilogue(row, rows, pair, static_cast<const float*>(tile));
    }
  }
}

/// epilogue(x . wT) over all rows and pairs, shared out to the threads. Deterministic: each element is one sum in the order of K.
template <class Dot, class Pairs, class Epilogue>
void gemm(const PackedInput<Dot>& input, const Pairs& pairs, Epilogue&& epilogue) {
  // Row blocks small enough that a block of input and a pair of weight panels share the second-level cache; pair groups so that
  // every thread has several pieces to take.
  constexpr Index block_rows = 16 * simd::tile_rows;
  const Index row_blocks = std::max<Index>(1, (input.rows() + block_rows - 1) / block_rows);
  const Index groups = std::clamp<Index>(pairs.count(), 1, 8 * num_threads());
  parallel_for(row_blocks * groups, [&](Index piece) {
    const Index block = piece % row_blocks, group = piece / row_blocks;
    gemm_block<Dot>(block * block_rows, std::min(input.rows(), (block + 1) * block_rows),
                    [&](Index row) { return input.panel(row); }, pairs, group * pairs.count() / groups,
                    (group + 1) * pairs.count() / groups, epilogue,
                    [&]([[maybe_unused]] Index row, [[maybe_unused]] Index rows, [[maybe_unused]] Index pair,
                        [[maybe_unused]] float* tile) {
                      if constexpr (Dot::quantised)
                        detail::dequantise(tile, row, rows, pairs, pair, [&](Index r) { return input.scale(r); });
                    });
  });
}

}  // namespace janusflow
