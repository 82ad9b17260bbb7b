// Products on AMX's tile registers, 16 rows of 64 bytes each: the very blocks in which packed words lie in memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "janusflow/simd/panels.hpp"

// gcc and clang name the same options differently; a processor that has one of these has them all.
#if defined(__linux__) && defined(__AVX512VNNI__) && defined(__AVX512BF16__) && \
    ((defined(__AMX_INT8__) && defined(__AMX_BF16__)) || (defined(__AMXINT8__) && defined(__AMXBF16__)))
#define JANUSFLOW_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace janusflow::simd {

/// Rows of a tile register.
inline constexpr Index register_rows = 16;

/// What LDTILECFG reads: the rows of each tile register, and the bytes of a row (Intel SDM, volume 2, LDTILECFG; palette 1).
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  constexpr void set(int tile, Index tile_rows, Index words) {
    rows[tile] = static_cast<std::uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<std::uint16_t>(4 * words);
  }
};

/// How a thread's tile registers are shaped. Shaping them takes far longer than a product, so a TilesInUse keeps them from one block of
/// tiles to the next; without one they are released after every block. (The state is each thread's own.)
template <class Unit>
class TileRegisters {
 public:
  /// Blocks of rows whose sums are held at once. Three leave one register for rows, so that these are loaded twice, but the second time
  /// from the first-level cache: less comes from the second than with two blocks.
  static constexpr Index most_blocks = 3;
  // Which registers are what: the sums of a block of rows and the first or second columns, the rows of a block, those columns.
  static constexpr int sums(int block, int half) { return 2 * block + half; }
  static constexpr int rows(int blocks, int block) { return blocks == most_blocks ? 7 : 4 + block; }
  static constexpr int columns(int blocks, int half) { return blocks == most_blocks ? 6 : 6 + half; }

  /// For 1 to 32 or for 48 rows, and chunks of `words` words. What the registers hold is lost where that is new.
  static void shape(Index row_count, Index words) {
    if (row_count == rows_ && words == words_) return;
    TileShapes shapes;
    const int blocks = static_cast<int>((row_count + register_rows - 1) / register_rows);
    for (int block = 0; block < blocks; ++block) {
      const Index count = std::min(register_rows, row_count - block * register_rows);
      for (const int half : {0, 1}) shapes.set(sums(block, half), count, panel_columns);
      shapes.set(rows(blocks, block), count, words);
    }
    for (const int half : {0, 1}) shapes.set(columns(blocks, half), words, panel_columns);
    Unit::configure(shapes);
    rows_ = row_count, words_ = words;
  }
  static void release() {
    if (users_ > 0 || rows_ == 0) return;
    Unit::release();
    rows_ = 0;
  }
  static void use(int more) {
    users_ += more;
    release();
  }

 private:
  static inline thread_local Index rows_ = 0, words_ = 0;
  static inline thread_local int users_ = 0;
};
/// Rows of the largest tile on them.
inline constexpr Index most_rows_on_tiles = 3 * register_rows;

/// While one lives, its thread's tile registers keep their shape between products, if there are any. Whatever else is called on that thread
/// must leave them alone.
template <class Registers>
struct TilesInUse {
  TilesInUse() { Registers::use(1); }
  ~TilesInUse() { Registers::use(-1); }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;
};

/// The input words of some rows: in each of `lines` lines, as convolutions read them (else there is one), a row is `words` words long, its
/// chunks are chunk_stride words apart, a chunk's rows row_stride.
struct TileRows {
  const std::uint32_t* const* begin;  // of the first row's, in each line
  Index lines, words, row_stride, chunk_stride;
  Index skip = 0;  // words before the first row
};

namespace detail {

/// f(block, half) for every block of rows and both columns.
template <int Blocks, class F>
[[gnu::always_inline]] inline void for_blocks(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (f(std::integral_constant<int, i / 2>(), std::integral_constant<int, i % 2>()), ...);
  }(std::make_integer_sequence<int, 2 * Blocks>());
}

/// multiply_on_tiles of chunks [first, first + chunks) of `words` words in every line, for rows in so many blocks of register_rows.
template <class Unit, int Blocks>
void multiply_chunks(Index rows, const TileRows& input, PanelPair<std::uint32_t> weights, std::uint32_t* out, bool go_on,
                     Index first, Index chunks, Index words) {
  using Tiles = typename Unit::Registers;
  constexpr Index line = 4 * panel_columns, stride = 2 * line;
  const auto place = [&](Index block, Index half) { return out + block * register_rows * 2 * panel_columns + half * panel_columns; };
  Tiles::shape(rows, words);
  for_blocks<Blocks>([&](auto block, auto half) {
    if (go_on) Unit::template load<Tiles::sums(block, half)>(place(block, half), stride);
    else Unit::template zero<Tiles::sums(block, half)>();
  });
  for (Index l = 0; l < input.lines; ++l) {
    const std::uint32_t* row = input.begin[l] + input.skip + first * input.chunk_stride;
    PanelPair<std::uint32_t> columns = weights.from(l * input.words + first * panel_chunk);
    for (Index c = 0; c < chunks; ++c, row += input.chunk_stride, columns = columns.from(panel_chunk)) {
      // Half a chunk ahead, for the prefetchers bring the next one too late; a few lines of either panel in turn, of which memory sends more
      // than where they take turns line by line, or a chunk at a time.
      constexpr Index ahead = panel_chunk / 2, lines = 4;
      if (words == panel_chunk)
        for (Index k = ahead; k < ahead + panel_chunk; k += lines)
          for (const auto* panel : {columns.first, columns.second}) prefetch(panel + k * panel_columns, lines * panel_columns);
      const auto load_rows = [&](auto block) __attribute__((always_inline)) {
        Unit::template load<Tiles::rows(Blocks, block)>(row + block * register_rows * input.row_stride, 4 * input.row_stride);
      };
      const auto load_columns = [&](auto half) __attribute__((always_inline)) {
        Unit::template load<Tiles::columns(Blocks, half)>(half == 0 ? columns.first : columns.second, line);
      };
      const auto multiply = [&](auto block, auto half) __attribute__((always_inline)) {
        Unit::template multiply<Tiles::sums(block, half), Tiles::rows(Blocks, block), Tiles::columns(Blocks, half)>();
      };
      constexpr std::integral_constant<int, 0> zero;
      constexpr std::integral_constant<int, 1> one;
      if constexpr (Blocks == Tiles::most_blocks) {  // forth with the first columns, back with the second
        constexpr std::integral_constant<int, 2> two;
        load_columns(zero);
        load_rows(zero), multiply(zero, zero);
        load_rows(one), multiply(one, zero);
        load_rows(two), multiply(two, zero);
        load_columns(one);
        multiply(two, one);
        load_rows(one), multiply(one, one);
        load_rows(zero), multiply(zero, one);
      } else {
        load_rows(zero);
        if constexpr (Blocks == 2) load_rows(one);
        load_columns(zero), load_columns(one);
        for_blocks<Blocks>(multiply);
      }
    }
  }
  for_blocks<Blocks>([&](auto block, auto half) { Unit::template store<Tiles::sums(block, half)>(place(block, half), stride); });
}

template <class Unit, int Blocks>
void multiply_blocks(Index rows, const TileRows& input, PanelPair<std::uint32_t> weights, std::uint32_t* out, bool go_on) {
  const Index whole = input.words / panel_chunk, last = input.words % panel_chunk;
  if (whole > 0) multiply_chunks<Unit, Blocks>(rows, input, weights, out, go_on, 0, whole, panel_chunk);
  if (last > 0) multiply_chunks<Unit, Blocks>(rows, input, weights, out, go_on || whole > 0, whole, 1, last);
}

}  // namespace detail

/// tile[r][0, 16) (+)= sum_k input[r][k] . weights.first[k], tile[r][16, 32) likewise with `second`, for up to 48 rows; sums of 32 bits.
/// The weights' words are those of one line after the other. `Unit` has the instructions. Each sum takes a chunk of 16 words at a time,
/// the lines' last and shorter ones after all others, so that it depends on its row and column alone here too.
template <class Unit>
void multiply_on_tiles(Index rows, const TileRows& input, PanelPair<std::uint32_t> weights, void* tile, bool go_on) {
  auto* const out = static_cast<std::uint32_t*>(tile);
  constexpr Index two = 2 * register_rows;
  if (rows == most_rows_on_tiles) {
    detail::multiply_blocks<Unit, 3>(rows, input, weights, out, go_on);
  } else if (rows > two) {  // the registers of rows would have to have two shapes
    multiply_on_tiles<Unit>(two, input, weights, out, go_on);
    TileRows rest = input;
    rest.skip += two * input.row_stride;
    multiply_on_tiles<Unit>(rows - two, rest, weights, out + two * 2 * panel_columns, go_on);
  } else if (rows > register_rows) {
    detail::multiply_blocks<Unit, 2>(rows, input, weights, out, go_on);
  } else {
    detail::multiply_blocks<Unit, 1>(rows, input, weights, out, go_on);
  }
  Unit::Registers::release();
}

#if defined(JANUSFLOW_AMX)
/// The instructions themselves. (gcc 12's intrinsics take literal tiles alone, and do not say what memory they read.)
struct TileUnit {
  using Registers = TileRegisters<TileUnit>;

  /// Whether Linux lets this program use the tile registers; asks for it at the first call (the kernel's
  /// Documentation/arch/x86/xstate.rst). It does not on a processor, by a kernel (before 5.16) or in a sandbox without them.
  static bool allowed() {
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool granted = ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    return granted;
  }

  static void configure(const TileShapes& shapes) { asm volatile("ldtilecfg %0" : : "m"(shapes) : "memory"); }
  static void release() { asm volatile("tilerelease"); }
  template <int Tile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(Tile));
  }
  template <int Tile>
  static void load(const std::uint32_t* from, Index stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(Tile) : "memory");
  }
  template <int Tile>
  static void store(std::uint32_t* to, Index stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(Tile) : "memory");
  }
};
/// Signed bytes of rows times unsigned ones of columns, summed in int32.
struct ByteTiles : TileUnit {
  template <int Sums, int Rows, int Columns>
  static void multiply() {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(Rows), "i"(Columns));
  }
};
/// bfloat16 summed in float32: a chunk's products of even and of odd k apart, in order, then both sums, and that to the rest.
struct BFloat16Tiles : TileUnit {
  template <int Sums, int Rows, int Columns>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(Rows), "i"(Columns));
  }
};
#endif

}  // namespace janusflow::simd
