// The innermost product: a panel of input rows times two panels of weight columns, accumulated in registers.
#pragma once

#include <array>
#include <utility>

#include "janusflow/simd/dot.hpp"

namespace janusflow::simd {

/// Rows of the largest tile in vector registers: two accumulators a row beside two weight vectors and one broadcast.
inline constexpr int tile_rows = (registers - 4) / 2;
/// Columns of a register tile: two vectors.
inline constexpr Index tile_columns = 2 * width;
/// Pairs of weight panels that one row multiplies at a time. It waits for memory, and so does each of its sums for the last product: where a
/// pair is but one cache line wide, and where it asks for its weights, several go through memory side by side.
inline constexpr int row_pairs = whole_lines && row_words_ahead == 0 ? 1 : 4;

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

/// Of the functions that Of{}.template operator()<Rows>() gives for 1 to `most` rows, the one for `rows`.
template <int most = tile_rows, class Of>
auto tile_for(Index rows, Of) {
  static constexpr auto table = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array{Of{}.template operator()<I + 1>()...};
  }(std::make_integer_sequence<int, most>());
  return table[static_cast<std::size_t>(rows - 1)];
}

/// Rows of a policy's largest tile in vector registers.
template <class Dot>
inline constexpr int most_tile_rows = [] {
  if constexpr (requires { Dot::most_rows; }) return Dot::most_rows;
  else return tile_rows;
}();

/// A policy that has another one's weights, its ManyRows', made of its own where rows are more than its largest tile's.
template <class Dot>
concept ForFewRows = requires { typename Dot::ManyRows; } && !std::is_same_v<typename Dot::ManyRows, Dot>;
template <class Dot>
struct PolicyForManyRows {
  using type = Dot;
};
template <ForFewRows Dot>
struct PolicyForManyRows<Dot> {
  using type = typename Dot::ManyRows;
};
/// By which a policy's products of many rows are made.
template <class Dot>
using ForManyRows = typename PolicyForManyRows<Dot>::type;

/// Whether a policy's products may be on AMX's tiles.
template <class Dot>
concept OnTiles = requires { typename Dot::Tiles; };
/// Rows of a tile, and so of a panel of inputs, at most.
template <class Dot>
inline constexpr Index most_panel_rows = OnTiles<ForManyRows<Dot>> ? most_rows_on_tiles : most_tile_rows<ForManyRows<Dot>>;
/// Whether tiles of so many rows are on them here.
template <class Dot>
bool on_tiles(Index rows = most_panel_rows<Dot>) {
  if constexpr (OnTiles<Dot>) return rows >= Dot::fewest_on_tiles && Dot::Tiles::allowed();
  else return false;
}

/// Rows of a tile, and so of a panel of inputs, on this machine.
template <class Dot>
Index panel_rows() {
  return on_tiles<ForManyRows<Dot>>() ? most_panel_rows<Dot> : most_tile_rows<ForManyRows<Dot>>;
}

/// To be kept while a thread multiplies one tile after the other.
template <class Dot>
struct ManyTiles {
  ManyTiles() {}  // so that it counts as used
};
template <OnTiles Dot>
struct ManyTiles<Dot> : TilesInUse<typename Dot::Tiles::Registers> {};

/// gemm_tile for 1 to panel_rows rows, for few rows' policies to most_tile_rows.
template <class Dot>
auto gemm_tile_for(Index rows) {
  using Word = typename Dot::InputWord;
  using Pair = PanelPair<typename Dot::WeightWord>;
  const auto in_vectors = on_tiles<Dot>(rows) ? nullptr : tile_for<most_tile_rows<Dot>>(rows, []<int Rows>() { return &gemm_tile<Dot, Rows>; });
  return [=](Index words, const Word* input, Pair weights, float* tile, Sums sums) {
    if constexpr (OnTiles<Dot>)
      if (!in_vectors) return Dot::tile_on_tiles(rows, words, input, weights, tile, sums == Sums::go_on);
    in_vectors(words, input, {weights}, tile, sums);
  };
}
/// conv_tile for 1 to panel_rows rows.
template <class Dot>
auto conv_tile_for(Index rows) {
  using Word = typename Dot::InputWord;
  using Pair = PanelPair<typename Dot::WeightWord>;
  const auto in_vectors = on_tiles<Dot>() ? nullptr : tile_for(rows, []<int Rows>() { return &conv_tile<Dot, Rows>; });
  return [=](const KernelRuns<Word>& runs, Pair weights, float* tile) {
    if constexpr (OnTiles<Dot>)
      if (!in_vectors)
        return multiply_on_tiles<typename Dot::Tiles>(rows, {runs.begin, runs.lines, runs.words, runs.stride, panel_chunk}, weights, tile, false);
    in_vectors(runs, weights, tile);
  };
}

}  // namespace janusflow::simd
