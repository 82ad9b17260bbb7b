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
  const auto* first(Index pair) const { return weight.panel(2 * pair); }
  const auto* second(Index pair) const { return weight.panel(neighbour(pair)); }

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
};

/// One block of the product on one thread: input rows [begin, end) (begin on a panel boundary) times pairs [first, last).
/// `panel(row)` gives the input panel that starts at a row. The epilogue is called as epilogue(row, rows, pair, tile), tile
/// [rows][2 width] floats.
template <class Dot, class Panels, class Pairs, class Epilogue>
void gemm_block(Index begin, Index end, Panels&& panel, const Pairs& pairs, Index first, Index last, Epilogue&& epilogue) {
  alignas(64) float tile[simd::tile_rows * simd::tile_columns];
  for (Index pair = first; pair < last; ++pair) {
    const auto* b0 = pairs.first(pair);
    const auto* b1 = pairs.second(pair);
    for (Index row = begin; row < end; row += simd::tile_rows) {
      const Index rows = std::min<Index>(simd::tile_rows, end - row);
      simd::gemm_tile_for<Dot>(rows)(pairs.words(), panel(row), b0, b1, tile);
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
                    (group + 1) * pairs.count() / groups, epilogue);
  });
}

}  // namespace janusflow
