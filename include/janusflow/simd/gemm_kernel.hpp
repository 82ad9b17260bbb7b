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

template <std::size_t Held>
[[gnu::always_inline]] inline void set_to_zero(Batch (&acc)[Held][2]) {
#pragma GCC unroll 16
  for (auto& sums : acc) sums[0] = sums[1] = Batch(0.0f);
}
template <int Rows, std::size_t Held>
[[gnu::always_inline]] inline void put_down(const Batch (&acc)[Held][2], float* tile) {
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    acc[r][0].store_aligned(tile + r * tile_columns);
    acc[r][1].store_aligned(tile + r * tile_columns + width);
  }
}

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
    set_to_zero(acc);
    if (sums == Sums::go_on) {
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        acc[r][0] = Batch::load_aligned(tile + r * tile_columns);
        acc[r][1] = Batch::load_aligned(tile + r * tile_columns + width);
      }
    }
    add_products<Dot, Rows>(acc, words, PanelRows<typename Dot::InputWord, Rows>{input}, first, second);
    put_down<Rows>(acc, tile);
  }
}

/// What the rows of a tile of a convolution read: neighbouring pixels of a line of output see runs of words that begin `stride` words
/// apart, one in each line of the picture that is under the kernel.
template <class Word>
struct KernelRuns {
  const Word* const* begin;  // of the first row's, in each line
  Index lines, words, stride;
};

/// gemm_tile for the rows of a convolution: the weights' words are those of one line of the kernel after the other.
template <class Dot, int Rows>
void conv_tile(const KernelRuns<typename Dot::InputWord>& runs, const typename Dot::WeightWord* first,
               const typename Dot::WeightWord* second, float* tile) {
  const Index next = runs.words * panel_columns;
  if constexpr (requires { typename Dot::Tiles; })
    if (Dot::Tiles::allowed()) {
      for (Index line = 0; line < runs.lines; ++line, first += next, second += next)
        multiply_on_tiles<typename Dot::Tiles, Rows>(runs.words, runs.begin[line], first, second, tile, line > 0, runs.stride, panel_chunk);
      return;
    }
  Batch acc[Dot::template held<Rows>][2];
  set_to_zero(acc);
  for (Index line = 0; line < runs.lines; ++line, first += next, second += next) {
    // Meanwhile the rows' part of the next line is asked for, of the last one the first line's that the neighbours will read.
    const auto* const ahead = line + 1 < runs.lines ? runs.begin[line + 1] : runs.begin[0] + Rows * runs.stride;
    const Index step = ((Rows - 1) * runs.stride + runs.words) / runs.words;
    add_products<Dot, Rows>(acc, runs.words, StridedRows<typename Dot::InputWord, Rows>(runs.begin[line], runs.stride, ahead, step), first, second);
  }
  put_down<Rows>(acc, tile);
}

/// Of the functions that Of{}.template operator()<Rows>() gives for 1 to tile_rows rows, the one for `rows`.
template <class Of>
auto tile_for(Index rows, Of) {
  static constexpr auto table = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array{Of{}.template operator()<I + 1>()...};
  }(std::make_integer_sequence<int, tile_rows>());
  return table[static_cast<std::size_t>(rows - 1)];
}
/// gemm_tile for 1 to tile_rows rows.
template <class Dot>
auto gemm_tile_for(Index rows) {
  return tile_for(rows, []<int Rows>() { return &gemm_tile<Dot, Rows>; });
}
/// conv_tile for 1 to tile_rows rows.
template <class Dot>
auto conv_tile_for(Index rows) {
  return tile_for(rows, []<int Rows>() { return &conv_tile<Dot, Rows>; });
}

}  // namespace janusflow::simd
