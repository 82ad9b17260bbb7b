// The innermost product: a panel of input rows times two panels of weight columns, accumulated in registers.
#pragma once

#include <array>
#include <utility>

#include "janusflow/simd/dot.hpp"

namespace janusflow::simd {

/// Vector registers of the architecture this translation unit is compiled for.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int registers = 32;
#else
inline constexpr int registers = 16;
#endif

/// Rows of the largest register tile: two accumulators a row beside two weight vectors and one broadcast.
inline constexpr int tile_rows = (registers - 4) / 2;
/// Columns of a register tile: two vectors.
inline constexpr Index tile_columns = 2 * width;

/// Whether a tile's sums begin at zero, or go on from what the tile holds.
enum class Sums { begin, go_on };

/// tile[r][0, width) (+)= sum_k input[r][k] . first[k], tile[r][width, 2 width) likewise with `second`; `words` words deep. The tile
/// is [Rows][2 width], the input panel [words / panel_chunk][Rows][panel_chunk], the weights' words are panel_columns apart; a
/// quantised policy's sums always begin. Each sum runs over k in order, so an element's value depends on its row and column alone, not
/// on the tile it was computed in.
template <class Dot, int Rows>
void gemm_tile(Index words, const typename Dot::InputWord* input, const typename Dot::WeightWord* first,
               const typename Dot::WeightWord* second, float* tile, [[maybe_unused]] Sums sums) {
  if constexpr (Dot::quantised) {
    Dot::template tile<Rows>(words, input, first, second, tile);
  } else {
    if constexpr (requires { typename Dot::Tiles; })
      if (Dot::Tiles::allowed())
        return multiply_on_tiles<typename Dot::Tiles, Rows>(words, input, first, second, tile, sums == Sums::go_on);
    Batch acc[Dot::template held<Rows>][2];
#pragma GCC unroll 16
    for (int r = 0; r < Dot::template held<Rows>; ++r) acc[r][0] = acc[r][1] = Batch(0.0f);
    if (sums == Sums::go_on) {
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        acc[r][0] = Batch::load_aligned(tile + r * tile_columns);
        acc[r][1] = Batch::load_aligned(tile + r * tile_columns + width);
      }
    }
    add_products<Dot, Rows>(acc, words, input, first, second);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      acc[r][0].store_aligned(tile + r * tile_columns);
      acc[r][1].store_aligned(tile + r * tile_columns + width);
    }
  }
}

template <class Dot>
using GemmTile = void (*)(Index, const typename Dot::InputWord*, const typename Dot::WeightWord*,
                          const typename Dot::WeightWord*, float*, Sums);

/// The tile function for 1 to tile_rows rows.
template <class Dot>
GemmTile<Dot> gemm_tile_for(Index rows) {
  static constexpr auto table = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array<GemmTile<Dot>, sizeof...(I)>{gemm_tile<Dot, I + 1>...};
  }(std::make_integer_sequence<int, tile_rows>());
  return table[static_cast<std::size_t>(rows - 1)];
}

}  // namespace janusflow::simd
