// AMX's products, on a stand-in for its registers that does what the manual says its instructions do; and on the registers
// themselves, to the same bits, where the program is compiled for them and the processor has them.
#include "janusflow/simd/amx_tiles.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "janusflow/core/bfloat16.hpp"

using namespace janusflow;

namespace {

using simd::TileShapes;
constexpr Index chunk = simd::panel_chunk, columns = simd::panel_columns;

/// Eight tiles of 16 rows of 16 words (Intel SDM, volume 2: LDTILECFG, TILEZERO, TILELOADD, TILESTORED).
struct StandIn {
  using Registers = simd::TileRegisters<StandIn>;
  static inline int shapings = 0;
  static inline TileShapes shapes;
  static inline std::uint32_t tiles[8][16][16];
  static inline bool configured = false;

  static void configure(const TileShapes& wanted) {
    static_assert(sizeof(TileShapes) == 64);
    shapes = wanted;
    configured = true;
    ++shapings;
    std::memset(tiles, 0, sizeof(tiles));
    for (int t = 0; t < 8; ++t) REQUIRE((shapes.rows[t] <= 16 && shapes.row_bytes[t] <= 64 && (shapes.rows[t] == 0) == (shapes.row_bytes[t] == 0)));
  }
  static void release() { configured = false; }
  template <int T>
  static void zero() {
    REQUIRE((configured && shapes.rows[T] > 0));
    std::memset(tiles[T], 0, sizeof(tiles[T]));
  }
  template <int T>
  static void load(const std::uint32_t* from, Index stride) {
    REQUIRE((configured && shapes.rows[T] > 0));
    std::memset(tiles[T], 0, sizeof(tiles[T]));
    for (int r = 0; r < shapes.rows[T]; ++r) std::memcpy(tiles[T][r], from + r * stride / 4, shapes.row_bytes[T]);
  }
  template <int T>
  static void store(std::uint32_t* to, Index stride) {
    REQUIRE(configured);
    for (int r = 0; r < shapes.rows[T]; ++r) std::memcpy(to + r * stride / 4, tiles[T][r], shapes.row_bytes[T]);
  }
  static void require_fit(int sums, int left, int right) {
    REQUIRE((configured && shapes.rows[sums] == shapes.rows[left] && shapes.row_bytes[sums] == shapes.row_bytes[right] &&
             shapes.row_bytes[left] == 4 * shapes.rows[right]));
  }
};

std::int64_t dot(std::uint32_t signed_bytes, std::uint32_t bytes) {
  std::int64_t sum = 0;
  for (int i = 0; i < 32; i += 8) sum += static_cast<std::int8_t>(signed_bytes >> i & 255) * static_cast<std::int32_t>(bytes >> i & 255);
  return sum;
}

/// TDPBSUD.
struct Bytes : StandIn {
  template <int Sums, int Left, int Right>
  static void multiply() {
    require_fit(Sums, Left, Right);
    for (int m = 0; m < shapes.rows[Sums]; ++m)
      for (int k = 0; k < shapes.rows[Right]; ++k)
        for (int n = 0; n < shapes.row_bytes[Sums] / 4; ++n) tiles[Sums][m][n] += static_cast<std::uint32_t>(dot(tiles[Left][m][k], tiles[Right][k][n]));
  }
};

float lower(std::uint32_t word) { return std::bit_cast<float>(word << 16); }
float upper(std::uint32_t word) { return std::bit_cast<float>(word & 0xffff0000u); }

/// TDPBF16PS.
struct BFloat16s : StandIn {
  template <int Sums, int Left, int Right>
  static void multiply() {
    require_fit(Sums, Left, Right);
    for (int m = 0; m < shapes.rows[Sums]; ++m)
      for (int n = 0; n < shapes.row_bytes[Sums] / 4; ++n) {
        float even = 0, odd = 0;
        for (int k = 0; k < shapes.rows[Right]; ++k) {
          even = std::fma(lower(tiles[Left][m][k]), lower(tiles[Right][k][n]), even);
          odd = std::fma(upper(tiles[Left][m][k]), upper(tiles[Right][k][n]), odd);
        }
        tiles[Sums][m][n] = std::bit_cast<std::uint32_t>(std::bit_cast<float>(tiles[Sums][m][n]) + (even + odd));
      }
  }
};

/// Words of two bfloat16 each, normally distributed.
struct RandomPair {
  std::mt19937 random;
  std::normal_distribution<float> normal{};

  explicit RandomPair(unsigned seed) : random(seed) {}
  std::uint32_t operator()() { return static_cast<std::uint32_t>(bfloat16(normal(random)).bits) << 16 | bfloat16(normal(random)).bits; }
};

/// A panel of `Rows` input rows and two of weights, `words` words deep, and what multiply_on_tiles makes of them.
template <int Rows>
struct Panels {
  Index words;
  std::vector<std::uint32_t> input, first, second, sums;

  template <class Word>
  Panels(Index depth, Word&& word)
      : words(depth), input(fill((words + chunk - 1) / chunk * chunk * Rows, word)), first(fill(words * columns, word)),
        second(fill(words * columns, word)), sums(Rows * 2 * columns, 0x7fc07fc0u) {}  // NaN, to be written over

  template <class Word>
  static std::vector<std::uint32_t> fill(Index count, Word& word) {
    std::vector<std::uint32_t> list(static_cast<std::size_t>(count));
    for (auto& w : list) w = word();
    return list;
  }
  std::uint32_t row_word(Index r, Index k) const { return input[static_cast<std::size_t>((k / chunk * Rows + r) * chunk + k % chunk)]; }
  std::uint32_t column_word(Index n, Index k) const { return (n < columns ? first : second)[static_cast<std::size_t>(k * columns + n % columns)]; }
  std::uint32_t sum(Index r, Index n) const { return sums[static_cast<std::size_t>(r * 2 * columns + n)]; }

  template <class Unit>
  void multiply() {
    multiply<Unit>(0, words, false);
    CHECK(!StandIn::configured);
    // The same rows as a picture has them, one behind the other.
    const Index whole = (words + chunk - 1) / chunk * chunk;
    std::vector<std::uint32_t> picture(static_cast<std::size_t>(whole * Rows)), again(sums.size());
    for (Index r = 0; r < Rows; ++r)
      for (Index k = 0; k < words; ++k) picture[static_cast<std::size_t>(r * whole + k)] = row_word(r, k);
    const std::uint32_t* begin = picture.data();
    simd::multiply_on_tiles<Unit>(Rows, {&begin, 1, words, whole, chunk}, {first.data(), second.data()}, again.data(), false);
    CHECK(again == sums);
  }
  /// Of the depth from word `from` on, where a chunk begins.
  template <class Unit>
  void multiply(Index from, Index count, bool go_on) {
    const std::uint32_t* begin = input.data() + from * Rows;
    simd::multiply_on_tiles<Unit>(Rows, {&begin, 1, count, chunk, Rows * chunk},
                                  {first.data() + from * columns, second.data() + from * columns}, sums.data(), go_on);
  }
};

/// check(panels) for several numbers of rows and depths around a chunk's.
template <class Word, class Check>
void for_sizes(Word word, Check check) {
  for (const Index words : {1, 2, 15, 16, 17, 32, 47})
    [&]<int... Rows>(std::integer_sequence<int, Rows...>) { (check(Panels<Rows>(words, word)), ...); }(std::integer_sequence<int, 1, 2, 16, 17, 32, 33, 47, 48>());
}

}  // namespace

TEST_CASE("amx: bytes give the integer sums") {
  std::mt19937 random(1);
  for_sizes([&] { return static_cast<std::uint32_t>(random()); }, []<int Rows>(Panels<Rows> panels) {
    panels.template multiply<Bytes>();
    for (Index r = 0; r < Rows; ++r)
      for (Index n = 0; n < 2 * columns; ++n) {
        std::int64_t expected = 0;
        for (Index k = 0; k < panels.words; ++k) expected += dot(panels.row_word(r, k), panels.column_word(n, k));
        REQUIRE(static_cast<std::int32_t>(panels.sum(r, n)) == expected);
      }
  });
}

TEST_CASE("amx: bfloat16 is within the bound of its sums, and a row's result its own") {
  for_sizes(RandomPair{2}, []<int Rows>(Panels<Rows> panels) {
    panels.template multiply<BFloat16s>();
    for (Index r = 0; r < Rows; ++r) {
      Panels<1> alone(panels.words, [] { return 0u; });
      for (Index k = 0; k < panels.words; ++k) alone.input[static_cast<std::size_t>(k)] = panels.row_word(r, k);
      alone.first = panels.first;
      alone.second = panels.second;
      alone.template multiply<BFloat16s>();
      for (Index n = 0; n < 2 * columns; ++n) {
        double expected = 0, size = 0;
        for (Index k = 0; k < panels.words; ++k)
          for (const auto half : {lower, upper}) {
            const double product = double{half(panels.row_word(r, k))} * half(panels.column_word(n, k));
            expected += product;
            size += std::abs(product);
          }
        REQUIRE(std::abs(double{std::bit_cast<float>(panels.sum(r, n))} - expected) <= static_cast<double>(2 * panels.words) * 0x1p-24 * size);
        REQUIRE(alone.sum(0, n) == panels.sum(r, n));
      }
    }
  });
}

TEST_CASE("amx: sums go on where a piece of the depth ended") {
  const auto check = []<int Rows>(Panels<Rows> panels) {
    panels.template multiply<BFloat16s>();
    const auto whole = panels.sums;
    const Index piece = 2 * chunk;
    panels.template multiply<BFloat16s>(0, piece, false);
    panels.template multiply<BFloat16s>(piece, panels.words - piece, true);
    CHECK(panels.sums == whole);
  };
  check(Panels<5>(3 * chunk + 2, RandomPair{3}));
  check(Panels<21>(3 * chunk + 2, RandomPair{3}));
  check(Panels<48>(3 * chunk + 2, RandomPair{3}));
}

TEST_CASE("amx: rows in several lines give the sum of the lines' products") {
  constexpr Index lines = 3, rows = 19, words = 2 * chunk + 5, stride = 40;
  std::mt19937 random(6);
  const auto word = [&] { return static_cast<std::uint32_t>(random()); };
  const auto fill = [&](Index count) {
    std::vector<std::uint32_t> list(static_cast<std::size_t>(count));
    for (auto& w : list) w = word();
    return list;
  };
  const auto picture = fill(lines * (rows * stride + words)), first = fill(lines * words * columns), second = fill(lines * words * columns);
  const std::uint32_t* begin[lines];
  for (Index l = 0; l < lines; ++l) begin[l] = picture.data() + l * (rows * stride + words);
  std::vector<std::uint32_t> all(static_cast<std::size_t>(rows * 2 * columns)), sum(all.size(), 0), one(all.size());
  simd::multiply_on_tiles<Bytes>(rows, {begin, lines, words, stride, chunk}, {first.data(), second.data()}, all.data(), false);
  for (Index l = 0; l < lines; ++l) {
    const Index at = l * words * columns;
    simd::multiply_on_tiles<Bytes>(rows, {begin + l, 1, words, stride, chunk}, {first.data() + at, second.data() + at}, one.data(), false);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += one[i];
  }
  CHECK(all == sum);
}

TEST_CASE("amx: registers keep their shape while they are in use, and are released then") {
  Panels<18> panels(3 * chunk, RandomPair{7});
  Panels<3> others(chunk + 1, RandomPair{8});
  const int before = StandIn::shapings;
  const auto more = [&] { return StandIn::shapings - before; };
  {
    const simd::TilesInUse<StandIn::Registers> outer;
    for (int i = 0; i < 3; ++i) panels.multiply<BFloat16s>(0, panels.words, i > 0);
    CHECK(more() == 1);
    {
      const simd::TilesInUse<StandIn::Registers> inner;
      others.multiply<BFloat16s>(0, others.words, false);  // whole chunks, then one of a word
      CHECK(more() == 3);
    }
    CHECK(StandIn::configured);
    panels.multiply<BFloat16s>(0, panels.words, false);
    CHECK(more() == 4);
  }
  CHECK(!StandIn::configured);
  panels.multiply<BFloat16s>(0, panels.words, false);
  CHECK(more() == 5);
  CHECK(!StandIn::configured);
}

#if defined(JANUSFLOW_AMX)
TEST_CASE("amx: the registers give the stand-in's bits") {
  if (!simd::TileUnit::allowed()) {
    MESSAGE("left out: this processor or its operating system has no tile registers");
    return;
  }
  std::mt19937 random(4);
  for_sizes([&] { return static_cast<std::uint32_t>(random()); }, []<int Rows>(Panels<Rows> panels) {
    Panels<Rows> expected = panels;
    expected.template multiply<Bytes>();
    panels.template multiply<simd::ByteTiles>();
    CHECK(panels.sums == expected.sums);
  });
  for_sizes(RandomPair{5}, []<int Rows>(Panels<Rows> panels) {
    Panels<Rows> expected = panels;
    expected.template multiply<BFloat16s>();
    panels.template multiply<simd::BFloat16Tiles>();
    CHECK(panels.sums == expected.sums);
  });
}
#endif
