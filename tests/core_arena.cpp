// The arena of large blocks: reuse, neighbours that join, pages given back.
#include "janusflow/core/arena.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <utility>
#include <vector>

using janusflow::Arena;

namespace {

constexpr std::size_t grain = Arena::grain;

/// Whether the system has addresses for it.
bool works(Arena& arena) {
  std::size_t bytes = 1;
  void* const block = arena.take(bytes);
  if (block) arena.give(block, bytes), arena.trim();
  return block;
}

char* take(Arena& arena, std::size_t grains) {
  std::size_t bytes = grains * grain;
  return static_cast<char*>(arena.take(bytes));
}

}  // namespace

TEST_CASE("arena: blocks are whole grains, the lowest free ones") {
  Arena arena;
  if (!works(arena)) return;
  std::size_t bytes = grain + 1;
  char* const first = static_cast<char*>(arena.take(bytes));
  CHECK(bytes == 2 * grain);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % grain == 0);
  CHECK(arena.owns(first));
  CHECK(arena.owns(first + bytes - 1));
  CHECK_FALSE(arena.owns(&bytes));
  CHECK_FALSE(arena.owns(first - 1));
  CHECK(take(arena, 3) == first + 2 * grain);
  arena.give(first, 2 * grain);
  CHECK(take(arena, 1) == first);
  CHECK(take(arena, 2) == first + 5 * grain);  // one grain is not enough
  CHECK(take(arena, 1) == first + grain);
  bytes = ~std::size_t{0};
  CHECK(arena.take(bytes) == nullptr);
  CHECK(bytes == ~std::size_t{0});
}

TEST_CASE("arena: all addresses can be had, and no more") {
  Arena arena;
  if (!works(arena)) return;
  std::size_t bytes = arena.size();
  void* const all = arena.take(bytes);  // no page is touched
  CHECK(all);
  CHECK(take(arena, 1) == nullptr);
  arena.give(all, bytes);
  CHECK(take(arena, 1) == all);
}

TEST_CASE("arena: free neighbours become one range, in whatever order they are given back") {
  Arena arena;
  if (!works(arena)) return;
  for (const std::vector<int>& order : {std::vector{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}}) {
    std::vector<char*> blocks;
    for (std::size_t i = 0; i < 3; ++i) blocks.push_back(take(arena, i + 1));
    char* const fence = take(arena, 1);
    for (const int i : order) arena.give(blocks[static_cast<std::size_t>(i)], (static_cast<std::size_t>(i) + 1) * grain);
    CHECK(arena.idle() == 6 * grain);
    char* const all = take(arena, 6);
    CHECK(all == blocks[0]);
    CHECK(arena.idle() == 0);
    arena.give(all, 6 * grain);
    arena.give(fence, grain);
    CHECK(arena.idle() == 7 * grain);
    arena.trim();
    CHECK(arena.idle() == 0);
  }
}

TEST_CASE("arena: trim gives the pages of what is free back, and leaves what is in use") {
  Arena arena;
  if (!works(arena)) return;
  char *const unused = take(arena, 40), *const used = take(arena, 3), *const last = take(arena, 2);
  std::memset(unused, 1, 40 * grain);
  std::memset(used, 2, 3 * grain);
  std::memset(last, 3, 2 * grain);
  arena.give(unused, 40 * grain);
  arena.give(last, 2 * grain);
  CHECK(arena.idle() == 42 * grain);
  arena.trim();
  CHECK(arena.idle() == 0);
  CHECK(used[0] == 2);
  CHECK(used[3 * grain - 1] == 2);
  CHECK(take(arena, 40) == unused);
  CHECK(unused[0] == 0);  // new pages
  CHECK(unused[40 * grain - 1] == 0);
  CHECK(take(arena, 2)[0] == 0);
}

TEST_CASE("arena: what was touched is idle until it is trimmed, whatever is taken before") {
  Arena arena;
  if (!works(arena)) return;
  char* const block = take(arena, 4);
  arena.give(block, 4 * grain);
  CHECK(take(arena, 1) == block);
  CHECK(arena.idle() == 3 * grain);
}

TEST_CASE("arena: of pages that are larger than a grain, only whole ones are given back") {
  Arena arena(2 * grain);
  if (!works(arena)) return;
  char *const first = take(arena, 1), *const unused = take(arena, 6), *const used = take(arena, 2);
  std::memset(first, 1, grain);
  std::memset(unused, 2, 6 * grain);
  std::memset(used, 3, 2 * grain);
  arena.give(unused, 6 * grain);  // its first grain shares a page with `first`, its last one with `used`
  arena.trim();
  CHECK(unused[0] == 2);
  CHECK(unused[grain] == 0);
  CHECK(unused[5 * grain - 1] == 0);
  CHECK(unused[5 * grain] == 2);
  CHECK(first[grain - 1] == 1);
  CHECK(used[0] == 3);
}

TEST_CASE("arena: blocks never overlap") {
  Arena arena;
  if (!works(arena)) return;
  std::mt19937 random(1);
  struct Block {
    char* at;
    std::size_t bytes;
    char mark;
  };
  std::vector<Block> blocks;
  for (int round = 0; round < 3000; ++round) {
    if (blocks.size() < 20 && random() % 3 != 0) {
      std::size_t bytes = 1 + random() % (12 * grain);
      const std::size_t wanted = bytes;
      char* const at = static_cast<char*>(arena.take(bytes));
      REQUIRE(at);
      CHECK(bytes >= wanted);
      const char mark = static_cast<char>(random() % 127);
      for (std::size_t i = 0; i < bytes; i += grain / 2) at[i] = mark;
      blocks.push_back({at, bytes, mark});
    } else if (!blocks.empty()) {
      const std::size_t which = random() % blocks.size();
      const Block block = blocks[which];
      bool whole = true;
      for (std::size_t i = 0; i < block.bytes; i += grain / 2) whole = whole && block.at[i] == block.mark;
      CHECK(whole);
      arena.give(block.at, block.bytes);
      blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(which));
    }
    if (round % 500 == 0) arena.trim();
  }
  for (const Block& block : blocks) arena.give(block.at, block.bytes);
  arena.trim();
  char* const first = take(arena, 1000);  // all is one range again
  CHECK(take(arena, 1) == first + 1000 * grain);
}
