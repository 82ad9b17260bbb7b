// The one matrix product: packed inputs times packed weights, with what follows the product applied while the tile is in cache.
#pragma once

#include "janusflow/ops/packed.hpp"

namespace janusflow {

/// Two weight panels at a time, as a tile wants them: neighbours of one matrix.
template <class Dot>
class PanelPairs {
 public:
  explicit PanelPairs(const PackedMatrix<Dot>& weight) : weight(weight) {}

  Index words() const { return weight.words(); }
  Index count() const { return (weight.panels() + 1) / 2; }
  /// The pair's panels from a word on.
  const auto* first(Index pair, Index word) const { return weight.panel(2 * pair, word); }
  const auto* second(Index pair, Index word) const { return weight.panel(neighbour(pair), word); }

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
  const auto* first(Index pair, Index word) const { return left.panel(pair, word); }
  const auto* second(Index pair, Index word) const { return right.panel(pair, word); }
};

/// Rows of the largest block of the product that one thread works on: with a pair of weight panels it shares the second-level cache.
inline constexpr Index block_rows = 16 * simd::tile_rows;

/// One block of the product on one thread: input rows [begin, end), block_rows at most (begin on a panel boundary), times pairs
/// [first, last). `panel(row)` gives the input panel that starts at a row. The epilogue is called as epilogue(row, rows, pair, tile),
/// tile [rows][2 width] floats.
template <class Dot, class Panels, class Pairs, class Epilogue>
void gemm_block(Index begin, Index end, Panels&& panel, const Pairs& pairs, Index first, Index last, Epilogue&& epilogue) {
  // Deep products are summed in pieces of K: the pair's part of a piece stays in the second-level cache while all rows use it.
  constexpr Index deepest = 1536;
  const Index words = pairs.words(), pieces = Dot::quantised ? 1 : std::max<Index>(1, (words + deepest - 1) / deepest);
  const Index depth = (words + pieces * simd::panel_chunk - 1) / (pieces * simd::panel_chunk) * simd::panel_chunk;
  alignas(64) float tiles[block_rows * simd::tile_columns];
  for (Index pair = first; pair < last; ++pair)
    for (Index piece = 0; piece < pieces; ++piece) {
      const Index k = piece * depth, count = piece + 1 < pieces ? depth : words - k;
      for (Index row = begin; row < end; row += simd::tile_rows) {
        const Index rows = std::min<Index>(simd::tile_rows, end - row);
        float* tile = pieces == 1 ? tiles : tiles + (row - begin) * simd::tile_columns;
        simd::gemm_tile_for<Dot>(rows)(count, panel(row) + k * rows, pairs.first(pair, k), pairs.second(pair, k), tile,
                                       piece == 0 ? simd::Sums::begin : simd::Sums::go_on);
        if (piece + 1 == pieces) epilogue(row, rows, pair, static_cast<const float*>(tile));
      }
    }
  simd::finish_streaming();  // the epilogue may have
}

/// epilogue(x . wT) over all rows and pairs, shared out to the threads. Deterministic: each element is one sum in the order of K.
template <class Dot, class Pairs, class Epilogue>
void gemm(const PackedInput<Dot>& input, const Pairs& pairs, Epilogue&& epilogue) {
  // Row blocks as equal as can be; groups of pairs so that every thread has several pieces to take.
  constexpr Index rows = simd::tile_rows;
  const Index panels = (input.rows() + rows - 1) / rows, row_blocks = std::max<Index>(1, (panels * rows + block_rows - 1) / block_rows);
  const Index groups = std::clamp<Index>(pairs.count(), 1, 8 * num_threads());
  parallel_for(row_blocks * groups, [&](Index piece) {
    const Index block = piece % row_blocks, group = piece / row_blocks;
    gemm_block<Dot>(block * panels / row_blocks * rows, std::min(input.rows(), (block + 1) * panels / row_blocks * rows),
                    [&](Index row) { return input.panel(row); }, pairs, group * pairs.count() / groups,
                    (group + 1) * pairs.count() / groups, epilogue);
  });
}

}  // namespace janusflow
