// The innermost product of a transpose: as gemm_tile, for an input that lies column by column, as gradients of weights have it.
#pragma once

#include "janusflow/simd/gemm_kernel.hpp"

namespace janusflow::simd {

/// tile[r][0, width) = sum_m left[m][r] right.first[m], tile[r][width, 2 width) likewise with `second`; `depth` deep. The tile is [Rows][2
/// width], left [depth][Rows], the right sides' vectors are panel_columns apart. Each sum runs over m in order.
template <int Rows>
void outer_tile(Index depth, const float* left, PanelPair<float> right, float* tile) {
  Batch acc[Rows][2];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) acc[r][0] = acc[r][1] = Batch(0.0f);
  for (Index m = 0; m < depth; ++m, left += Rows, right = right.from(1)) {
    const Batch b0 = Batch::load_aligned(right.first), b1 = Batch::load_aligned(right.second);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Batch a(left[r]);
      acc[r][0] = multiply_add(a, b0, acc[r][0]);
      acc[r][1] = multiply_add(a, b1, acc[r][1]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    acc[r][0].store_aligned(tile + r * tile_columns);
    acc[r][1].store_aligned(tile + r * tile_columns + width);
  }
}

/// outer_tile for 1 to tile_rows rows.
inline auto outer_tile_for(Index rows) {
  return tile_for(rows, []<int Rows>() { return &outer_tile<Rows>; });
}

}  // namespace janusflow::simd
