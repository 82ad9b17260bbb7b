// The one matrix product: packed inputs times packed weights, with what follows the product applied while the tile is in cache.
#pragma once

#include <array>
#include <cmath>
#include <utility>

#include "janusflow/core/cache.hpp"
#include "janusflow/ops/packed.hpp"

namespace janusflow {

/// Which two panels of a matrix make a pair.
struct PairOrder {
  Index apart = 1;  // the first so many panels each with the one so many further, then the next ones likewise; 1: neighbours

  /// The order for a product of so many rows. One row waits for the weights to come from memory: there each half of the matrix is read
  /// from its beginning to its end, where panels are whole cache lines, for the prefetchers lose time whenever a pair begins elsewhere.
  static PairOrder of(Index rows, Index panels) {
    if (rows == 1 && simd::width == simd::panel_columns) return {(panels + 1) / 2};
    return {};
  }
  Index panel(Index pair, Index which) const {
    if (apart == 1) return 2 * pair + which;  // without a division
    if (pair < apart) return pair + which * apart;  // likewise: a row's, whose first panels are half of them all
    return pair / apart * 2 * apart + pair % apart + which * apart;
  }
};

/// Two weight panels of one matrix at a time, as a tile wants them.
template <class Dot>
class PanelPairs {
 public:
  explicit PanelPairs(const PackedMatrix<Dot>& weight, PairOrder order = {}) : weight(weight), order(order) {}

  Index words() const { return weight.words(); }
  Index count() const { return (weight.panels() + 1) / 2; }
  /// The pair's panels from a word on. The last one stands in for the missing second of an odd number; the epilogue ignores the columns
  /// past the end.
  simd::PanelPair<typename Dot::WeightWord> at(Index pair, Index word) const {
    return {weight.panel(order.panel(pair, 0), word), weight.panel(std::min(order.panel(pair, 1), weight.panels() - 1), word)};
  }

 private:
  const PackedMatrix<Dot>& weight;
  PairOrder order;
};

/// The pairs of several matrices of one depth, matrix by matrix: one product in place of many.
template <class Dot, std::size_t N>
struct PairsOfEach {
  std::array<PanelPairs<Dot>, N> each;

  Index words() const { return each[0].words(); }
  Index count() const {
    Index total = 0;
    for (const auto& pairs : each) total += pairs.count();
    return total;
  }
  /// The matrix that a pair belongs to, and which of its pairs that is.
  std::pair<std::size_t, Index> find(Index pair) const {
    std::size_t i = 0;
    for (; pair >= each[i].count(); ++i) pair -= each[i].count();
    return {i, pair};
  }
  simd::PanelPair<typename Dot::WeightWord> at(Index pair, Index word) const {
    const auto [i, own] = find(pair);
    return each[i].at(own, word);
  }
};

/// The same panel of two matrices: gate beside up, for SwiGLU.
template <class Dot>
struct PanelTwins {
  const PackedMatrix<Dot>& left;
  const PackedMatrix<Dot>& right;

  Index words() const { return left.words(); }
  Index count() const { return left.panels(); }
  simd::PanelPair<typename Dot::WeightWord> at(Index pair, Index word) const { return {left.panel(pair, word), right.panel(pair, word)}; }
};

/// The pairs of a policy for few rows as its other policy has them: each is made anew, in memory of this one's own, where the one before was.
template <class Dot, class Pairs>
class PairsForManyRows {
 public:
  explicit PairsForManyRows(const Pairs& pairs)
      : pairs(pairs), memory(static_cast<std::size_t>(apart() + words() * simd::panel_columns) * sizeof(Word)) {}

  Index words() const { return Dot::many_rows_words(pairs.words()); }
  Index count() const { return pairs.count(); }
  simd::PanelPair<typename Dot::WeightWord> at(Index pair, Index) const {
    auto* const first = static_cast<Word*>(memory.data());
    const auto [from_first, from_second] = pairs.at(pair, 0);
    Dot::for_many_rows(pairs.words(), from_first, first);
    Dot::for_many_rows(pairs.words(), from_second, first + apart());
    return {first, first + apart()};
  }

 private:
  using Word = typename Dot::WeightWord;

  Index apart() const { return simd::whole_lines ? words() * simd::panel_columns : simd::width; }

  const Pairs& pairs;
  mutable Buffer memory;
};

/// So many rows, and as many more as make whole panels.
constexpr Index whole_panels(Index rows, Index panel_rows) { return (rows + panel_rows - 1) / panel_rows * panel_rows; }

/// Rows of a block of the product that one thread works on, in vectors: with a pair of weight panels it shares the second-level cache.
inline constexpr Index vector_block_rows = 16 * simd::tile_rows;
/// Rows of the largest block, whole panels. AMX's tiles ask for more where they are short enough: fewer blocks read the weights again.
template <class Dot>
inline constexpr Index block_rows =
    whole_panels((simd::OnTiles<simd::ForManyRows<Dot>> ? 2 : 1) * vector_block_rows, simd::most_panel_rows<Dot>);

/// One block of the product on one thread: input rows [begin, end), block_rows at most (begin on a panel boundary), times pairs
/// [first, last). `panel(row)` gives the input panel that starts at a row. The epilogue is called as epilogue(row, rows, pair, tile),
/// tile [rows][2 width] floats; what it reads besides it may ask for before, as ask_ahead(row, rows, pair).
template <class Dot, class Panels, class Pairs, class Epilogue>
void gemm_block(Index begin, Index end, Panels&& panel, const Pairs& pairs, Index first, Index last, Epilogue&& epilogue) {
  // Deep products are summed in pieces of K: the pair's part of a piece stays in the second-level cache while all rows use it.
  constexpr Index deepest = 1536;
  const Index words = pairs.words(), pieces = Dot::quantised ? 1 : std::max<Index>(1, (words + deepest - 1) / deepest);
  const Index depth = (words + pieces * simd::panel_chunk - 1) / (pieces * simd::panel_chunk) * simd::panel_chunk;
  alignas(64) float tiles[block_rows<Dot> * simd::tile_columns];
  const Index panel_rows = simd::panel_rows<Dot>();
  const simd::ManyTiles<Dot> many;
  if constexpr (constexpr Index together = simd::row_pairs; together > 1)
    if (end - begin == 1 && !simd::on_tiles<Dot>(1)) {
      // Neighbours; or, where panels are whole lines, pairs of as many runs, each of which is read from end to end.
      const Index turns = (last - first) / together, step = simd::whole_lines ? 1 : together, apart = simd::whole_lines ? turns : 1;
      for (Index turn = 0; turn < turns; ++turn) {
        const auto pair = [&](Index p) { return first + turn * step + p * apart; };
        std::array<simd::PanelPair<typename Dot::WeightWord>, together> weights;
        for (Index p = 0; p < together; ++p) weights[static_cast<std::size_t>(p)] = pairs.at(pair(p), 0);
        simd::gemm_tile<Dot, 1>(words, panel(begin), weights, tiles, simd::Sums::begin);
        for (Index p = 0; p < together; ++p) epilogue(begin, 1, pair(p), static_cast<const float*>(tiles + p * simd::tile_columns));
      }
      first += turns * together;
    }
  for (Index pair = first; pair < last; ++pair)
    for (Index piece = 0; piece < pieces; ++piece) {
      const Index k = piece * depth, count = piece + 1 < pieces ? depth : words - k;
      const auto weights = pairs.at(pair, k);
      for (Index row = begin; row < end; row += panel_rows) {
        const Index rows = std::min(panel_rows, end - row);
        float* tile = pieces == 1 ? tiles : tiles + (row - begin) * simd::tile_columns;
        if constexpr (requires { epilogue.ask_ahead(row, rows, pair); })
          if (piece + 1 == pieces) epilogue.ask_ahead(row, rows, pair);
        simd::gemm_tile_for<Dot>(rows)(count, panel(row) + k * rows, weights, tile, piece == 0 ? simd::Sums::begin : simd::Sums::go_on);
        if (piece + 1 == pieces) epilogue(row, rows, pair, static_cast<const float*>(tile));
      }
    }
  simd::finish_streaming();  // the epilogue may have
}

/// Rows of a block of this product. AMX's tiles are so fast that theirs must come from the second-level cache, of which they get half.
template <class Dot>
Index rows_of_blocks(Index features) {
  if (!simd::on_tiles<simd::ForManyRows<Dot>>()) return whole_panels(vector_block_rows, simd::panel_rows<Dot>());
  const Index row_bytes = input_row_words<Dot>(features) * static_cast<Index>(sizeof(typename Dot::InputWord));
  const Index fitting = static_cast<Index>(second_cache_bytes() / 2) / std::max<Index>(1, row_bytes), panel = simd::panel_rows<Dot>();
  return std::clamp(fitting / panel * panel, panel, block_rows<Dot>);
}

/// Row blocks that are multiplied by all weights before the next ones are: as many as have inputs that fit half of the last cache
/// beside the weights in work. All of them, but for long and deep inputs, of which each group of weights would else come from memory.
template <class Dot>
Index blocks_at_once(Index rows, Index features, Index row_blocks, Index weight_words, Index groups_at_once, Index groups) {
  const auto bytes = [](Index words, std::size_t each) { return static_cast<double>(words) * static_cast<double>(each); };
  const double inputs = bytes(rows * input_row_words<Dot>(features), sizeof(typename Dot::InputWord));
  const double weights = bytes(weight_words, sizeof(typename Dot::WeightWord)) * static_cast<double>(groups_at_once) / static_cast<double>(groups);
  const double room = std::max(0.5 * static_cast<double>(last_cache_bytes()) - weights, 1.0);
  const Index sets = std::clamp<Index>(static_cast<Index>(std::ceil(inputs / room)), 1, row_blocks);
  return (row_blocks + sets - 1) / sets;
}

/// The product of one row, which waits for the weights to come from memory: of many pairs few long pieces a thread, in rounds of equal
/// ones, each round shorter than the one before, so that threads that are as fast end together and one that is slower is not waited
/// for long.
template <class Dot, class Pairs, class Epilogue>
void gemm_of_row(const PackedInput<Dot>& input, const Pairs& pairs, Epilogue&& epilogue) {
  const Index count = pairs.count(), threads = num_threads(), together = simd::on_tiles<Dot>(1) ? 1 : simd::row_pairs;
  constexpr std::array<Index, 5> before{0, 5, 8, 10, 11};  // elevenths of a thread's share before each round
  constexpr Index rounds = before.size() - 1;
  const bool many = count >= before.back() * threads * together;
  const Index pieces = many ? rounds * threads : std::clamp<Index>(count, 1, 2 * threads);
  const auto begin = [&](Index piece) {
    if (!many || piece == pieces) return piece * count / pieces;
    const auto round = static_cast<std::size_t>(piece / threads);
    const Index parts = before[round] * threads + piece % threads * (before[round + 1] - before[round]);
    return count * parts / (before.back() * threads) / together * together;
  };
  parallel_for(pieces, [&](Index piece) {
    gemm_block<Dot>(0, 1, [&](Index row) { return input.panel(row); }, pairs, begin(piece), begin(piece + 1), epilogue);
  });
}

/// epilogue(x . wT) over all rows and pairs, shared out to the threads. Deterministic: each element is one sum in the order of K.
template <class Dot, class Pairs, class Epilogue>
void gemm(const PackedInput<Dot>& input, const Pairs& pairs, Epilogue&& epilogue) {
  if (input.rows() == 1) return gemm_of_row<Dot>(input, pairs, epilogue);
  // Row blocks as equal as can be; groups of pairs so that every thread has some two dozen pieces to take where four to eight groups a
  // thread make as many, and none waits long for the last one. Not more, for each group reads all inputs again; half as many where AMX's tiles
  // read them so much faster.
  const Index rows = simd::panel_rows<Dot>();
  const Index panels = (input.rows() + rows - 1) / rows, high = rows_of_blocks<Dot>(input.features());
  const Index row_blocks = std::max<Index>(1, (panels * rows + high - 1) / high);
  using Many = simd::ForManyRows<Dot>;
  const Index wanted = simd::on_tiles<Many>() ? 12 : 24;
  const Index groups = std::clamp<Index>(pairs.count(), 1, std::clamp<Index>(wanted / row_blocks, wanted / 6, 8) * num_threads());
  const Index weight_words = pairs.count() * pairs.words() * simd::tile_columns;
  const Index set = blocks_at_once<Dot>(input.rows(), input.features(), row_blocks, weight_words, num_threads(), groups);
  parallel_for(row_blocks * groups, [&](Index piece) {
    const Index first = piece / (set * groups) * set, blocks = std::min(set, row_blocks - first), rest = piece - first * groups;
    const Index block = first + rest % blocks, group = rest / blocks;
    const Index begin = block * panels / row_blocks * rows, end = std::min(input.rows(), (block + 1) * panels / row_blocks * rows);
    const auto multiply = [&]<class Policy>(std::type_identity<Policy>, const auto& its_pairs) {
      gemm_block<Policy>(begin, end, [&](Index row) { return input.panel(row); }, its_pairs, group * pairs.count() / groups,
                         (group + 1) * pairs.count() / groups, epilogue);
    };
    if constexpr (simd::ForFewRows<Dot>)
      if (end - begin > simd::most_tile_rows<Dot>) return multiply(std::type_identity<Many>(), PairsForManyRows<Dot, Pairs>(pairs));
    multiply(std::type_identity<Dot>(), pairs);
  });
}

}  // namespace janusflow
