// Products on AMX's tile registers, 16 rows of 64 bytes each: the very blocks in which packed words lie in memory.
#pragma once

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

// Tested on a stand-in for the registers, and on those of an emulator (gcc 12, -march=sapphirerapids); never yet run on a processor
// that has them. Where Linux does not let the program use them, the products are AVX-512's.

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

/// tile[r][0, 16) (+)= sum_k input[r][k] . weights.first[k], tile[r][16, 32) likewise with `second`, `words` words deep, as gemm_tile
/// has them; sums of 32 bits. `Unit` has the instructions. Each sum takes a chunk of 16 words at a time, so that it depends on
/// its row and column alone here too. A row's chunks are chunk_stride words apart, a chunk's rows row_stride.
template <class Unit, int Rows>
void multiply_on_tiles(Index words, const std::uint32_t* input, PanelPair<std::uint32_t> weights, void* tile, bool go_on,
                       Index row_stride = panel_chunk, Index chunk_stride = panel_chunk * Rows) {
  static_assert(Rows <= 16);
  enum { sums0, sums1, rows, columns0, columns1, last_rows, last_columns0, last_columns1 };
  constexpr Index chunk = panel_chunk, line = 4 * panel_columns, stride = 2 * line;
  const Index last = words % chunk;
  TileShapes shapes;
  for (const int t : {sums0, sums1}) shapes.set(t, Rows, panel_columns);
  shapes.set(rows, Rows, chunk);
  for (const int t : {columns0, columns1}) shapes.set(t, chunk, panel_columns);
  if (last > 0) {
    shapes.set(last_rows, Rows, last);
    for (const int t : {last_columns0, last_columns1}) shapes.set(t, last, panel_columns);
  }
  Unit::configure(shapes);  // and all tiles are zero

  auto* const out = static_cast<std::uint32_t*>(tile);
  if (go_on) {
    Unit::template load<sums0>(out, stride);
    Unit::template load<sums1>(out + panel_columns, stride);
  }
  for (Index k = 0; k + chunk <= words; k += chunk) {
    Unit::template load<rows>(input, 4 * row_stride);
    Unit::template load<columns0>(weights.first, line);
    Unit::template multiply<sums0, rows, columns0>();
    Unit::template load<columns1>(weights.second, line);
    Unit::template multiply<sums1, rows, columns1>();
    input += chunk_stride;
    weights = weights.from(chunk);
  }
  if (last > 0) {
    Unit::template load<last_rows>(input, 4 * row_stride);
    Unit::template load<last_columns0>(weights.first, line);
    Unit::template multiply<sums0, last_rows, last_columns0>();
    Unit::template load<last_columns1>(weights.second, line);
    Unit::template multiply<sums1, last_rows, last_columns1>();
  }
  Unit::template store<sums0>(out, stride);
  Unit::template store<sums1>(out + panel_columns, stride);
  Unit::release();
}

#if defined(JANUSFLOW_AMX)
/// The instructions themselves. (gcc 12's intrinsics take literal tiles alone, and do not say what memory they read.)
struct TileUnit {
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
