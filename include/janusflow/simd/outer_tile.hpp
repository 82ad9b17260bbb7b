// The innermost product of a transpose: as gemm_tile, for an input that lies column by column, as gradients of weights have it.
#pragma once

#include "janusflow/simd/gemm_kernel.hpp"

namespace janusflow::simd {

/// Where the words of a tile's rows are in columns that lie one behind the other, [depth][Rows].
template <int Rows>
struct ColumnRows {
  static constexpr bool asks_ahead = false;
  template <class Dot>
  static constexpr Index steps = Dot::steps;

  const float* at;

  const float* row(int r) const { return at + r; }
  ColumnRows from(Index word) const { return {at + word * Rows}; }
  template <Index step>
  void next(Index) {
    at += step * Rows;
  }
};

/// tile[r][0, width) = sum_m left[m][r] right.first[m], tile[r][width, 2 width) likewise with `second`; `depth` deep. The tile is [Rows][2
/// width], left [depth][Rows], the right sides' vectors are panel_columns apart. Each sum runs over m in order.
template <int Rows>
void outer_tile(Index depth, const float* left, PanelPair<float> right, float* tile) {
  Batch acc[1][Rows][2];
  set_to_zero(acc);
  add_products<Float32Dot, Rows>(acc, depth, ColumnRows<Rows>{left}, std::array{right});
  put_down<Rows>(acc, tile);
}

/// outer_tile for 1 to tile_rows rows.
inline auto outer_tile_for(Index rows) {
  return tile_for(rows, []<int Rows>() { return &outer_tile<Rows>; });
}

}  // namespace janusflow::simd
