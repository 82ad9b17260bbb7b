// The innermost product: a panel of input rows times two panels of weight columns, accumulated in registers.
#pragma once

#include <array>
#include <utility>

#include "janusflow/simd/dot.hpp"

namespace janusflow::simd {

/// Rows of the largest register tile: two accumulators a row beside two weight vectors and one broadcast.
inline constexpr int tile_rows = (registers - 4) / 2;
/// Columns of a register tile: two vectors.
inline constexpr Index tile_columns = 2 * width;
/// Pairs of weight panels that one row multiplies at a time. It waits for memory, and so does each of its sums for the last product:
/// where a pair is but one cache line wide, several go through memory side by side.
inline constexpr int row_pairs = whole_lines ? 1 : 4;

/// Whether a tile's sums begin at zero, or go on from what the tile holds.
enum class Sums { begin, go_on };

/// tiles[p][r][0, width) (+)= sum_k input[r][k] . weights[p].first[k], tiles[p][r][width, 2 width) likewise with `second`; `words` words
/// deep. The tiles are [Pairs][Rows][2 width], the input panel [words / panel_chunk][Rows][panel_chunk]; a quantised policy's sums always
/// begin. Each sum runs over k in order, so an element's value depends on its row and column alone, not on the tile it was computed in.
template <class Dot, int Rows, std::size_t Pairs = 1>
void gemm_tile(Index words, const typename Dot::InputWord* input, std::array<PanelPair<typename Dot::WeightWord>, Pairs> weights,
               float* tiles, [[maybe_unused]] Sums sums) {
  if constexpr (Dot::quantised) {
    Dot::template tile<Rows>(words, input, weights, tiles);
  } else {
    if constexpr (requires { typename Dot::Tiles; })
      if (Dot::Tiles::allowed()) {
        for (std::size_t p = 0; p < Pairs; ++p)
          multiply_on_tiles<typename Dot::Tiles, Rows>(words, input, weights[p], tiles + p * Rows * tile_columns, sums == Sums::go_on);
        return;
      }
    Batch acc[Pairs][Dot::template held<Rows>][2];
    set_to_zero(acc);
    if (sums == Sums::go_on) take_up<Rows>(acc, tiles);
    add_products<Dot, Rows>(acc, words, PanelRows<typename Dot::InputWord, Rows>{input}, weights);
    put_down<Rows>(acc, tiles);
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
void conv_tile(const KernelRuns<typename Dot::InputWord>& runs, PanelPair<typename Dot::WeightWord> weights, float* tile) {
  if constexpr (requires { typename Dot::Tiles; })
    if (Dot::Tiles::allowed()) {
      for (Index line = 0; line < runs.lines; ++line, weights = weights.from(runs.words))
        multiply_on_tiles<typename Dot::Tiles, Rows>(runs.words, runs.begin[line], weights, tile, line > 0, runs.stride, panel_chunk);
      return;
    }
  Batch acc[1][Dot::template held<Rows>][2];
  set_to_zero(acc);
  for (Index line = 0; line < runs.lines; ++line, weights = weights.from(runs.words)) {
    // Meanwhile the rows' part of the next line is asked for, of the last one the first line's that the neighbours will read.
    const auto* const ahead = line + 1 < runs.lines ? runs.begin[line + 1] : runs.begin[0] + Rows * runs.stride;
    const Index step = ((Rows - 1) * runs.stride + runs.words) / runs.words;
    add_products<Dot, Rows>(acc, runs.words, StridedRows<typename Dot::InputWord, Rows>(runs.begin[line], runs.stride, ahead, step),
                            std::array{weights});
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
