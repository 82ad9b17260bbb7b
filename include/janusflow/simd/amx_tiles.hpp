// Products on AMX's tile registers, 16 rows of 64 bytes each: the very blocks in which packed words lie in memory.
#pragma once

#include <algorithm>
#include <cstdint>

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
    if (tile_rows == 0) return;
    rows[tile] = static_cast<std::uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<std::uint16_t>(4 * words);
  }
};

/// How a thread's tile registers are shaped. Shaping them costs as much as ten products, so a TilesInUse keeps them from one block of
/// tiles to the next; without one they are released after every block. (The state is each thread's own.)
template <class Unit>
class TileRegisters {
 public:
  // The registers' parts: two blocks of sums above two others, the rows they take, and the columns.
  enum { upper0, upper1, lower0, lower1, upper_rows, lower_rows, columns0, columns1 };

  /// For `rows` rows, up to twice register_rows, and chunks of `words` words. What they hold is lost where that is new.
  static void shape(Index rows, Index words) {
    if (rows == rows_ && words == words_) return;
    TileShapes shapes;
    const Index upper = std::min(rows, register_rows), lower = rows - upper;
    for (const int t : {upper0, upper1}) shapes.set(t, upper, panel_columns);
    for (const int t : {lower0, lower1}) shapes.set(t, lower, panel_columns);
    shapes.set(upper_rows, upper, words);
    shapes.set(lower_rows, lower, words);
    for (const int t : {columns0, columns1}) shapes.set(t, words, panel_columns);
    Unit::configure(shapes);
    rows_ = rows, words_ = words;
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

/// While one lives, its thread's tile registers keep their shape between products. Whatever else is called on that thread must leave
/// them alone.
template <class Registers>
struct TilesInUse {
  TilesInUse() { Registers::use(1); }
  ~TilesInUse() { Registers::use(-1); }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;
};

/// The input words of some rows: in each of `lines` lines, as convolutions read them (else there is one), a row is `words` words long, its
/// chunks are chunk_stride words apart, a chunk's rows row_stride.
template <class Word>
struct TileRows {
  const Word* const* begin;  // of the first row's, in each line
  Index lines, words, row_stride, chunk_stride;
};

/// tile[r][0, 16) (+)= sum_k input[r][k] . weights.first[k], tile[r][16, 32) likewise with `second`, for up to 32 rows; sums of 32 bits.
/// The weights' words are those of one line after the other. `Unit` has the instructions. Each sum takes a chunk of 16 words at a time,
/// the lines' last and shorter ones after all others, so that it depends on its row and column alone here too.
template <class Unit>
void multiply_on_tiles(Index rows, const TileRows<std::uint32_t>& input, PanelPair<std::uint32_t> weights, void* tile, bool go_on) {
  using Tiles = typename Unit::Registers;
  constexpr Index line = 4 * panel_columns, stride = 2 * line;
  auto* const out = static_cast<std::uint32_t*>(tile);
  auto* const out_below = out + register_rows * 2 * panel_columns;
  const auto pass = [&](auto two, Index first, Index chunks, Index words) {
    Tiles::shape(rows, words);
    if (go_on) {
      Unit::template load<Tiles::upper0>(out, stride);
      Unit::template load<Tiles::upper1>(out + panel_columns, stride);
      if constexpr (two) {
        Unit::template load<Tiles::lower0>(out_below, stride);
        Unit::template load<Tiles::lower1>(out_below + panel_columns, stride);
      }
    } else {
      Unit::template zero<Tiles::upper0>();
      Unit::template zero<Tiles::upper1>();
      if constexpr (two) {
        Unit::template zero<Tiles::lower0>();
        Unit::template zero<Tiles::lower1>();
      }
    }
    for (Index l = 0; l < input.lines; ++l) {
      const std::uint32_t* row = input.begin[l] + first * input.chunk_stride;
      PanelPair<std::uint32_t> columns = weights.from(l * input.words + first * panel_chunk);
      for (Index c = 0; c < chunks; ++c, row += input.chunk_stride, columns = columns.from(panel_chunk)) {
        // The next chunk's, which the prefetchers bring too late.
        for (Index k = panel_chunk; k < 2 * panel_chunk && words == panel_chunk; ++k) {
          __builtin_prefetch(columns.first + k * panel_columns);
          __builtin_prefetch(columns.second + k * panel_columns);
        }
        Unit::template load<Tiles::upper_rows>(row, 4 * input.row_stride);
        if constexpr (two) Unit::template load<Tiles::lower_rows>(row + register_rows * input.row_stride, 4 * input.row_stride);
        Unit::template load<Tiles::columns0>(columns.first, line);
        Unit::template load<Tiles::columns1>(columns.second, line);
        Unit::template multiply<Tiles::upper0, Tiles::upper_rows, Tiles::columns0>();
        Unit::template multiply<Tiles::upper1, Tiles::upper_rows, Tiles::columns1>();
        if constexpr (two) Unit::template multiply<Tiles::lower0, Tiles::lower_rows, Tiles::columns0>();
        if constexpr (two) Unit::template multiply<Tiles::lower1, Tiles::lower_rows, Tiles::columns1>();
      }
    }
    Unit::template store<Tiles::upper0>(out, stride);
    Unit::template store<Tiles::upper1>(out + panel_columns, stride);
    if constexpr (two) {
      Unit::template store<Tiles::lower0>(out_below, stride);
      Unit::template store<Tiles::lower1>(out_below + panel_columns, stride);
    }
    go_on = true;
  };
  const Index whole = input.words / panel_chunk, last = input.words % panel_chunk;
  const auto passes = [&](auto two) {
    if (whole > 0) pass(two, 0, whole, panel_chunk);
    if (last > 0) pass(two, whole, 1, last);
  };
  if (rows > register_rows) passes(std::true_type());
  else passes(std::false_type());
  Tiles::release();
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
