// The storage pool: alignment, reuse, release, and several threads at once.
#include "janusflow/core/buffer.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <thread>
#include <utility>
#include <vector>

using namespace janusflow;

namespace {

bool aligned(const void* block) { return reinterpret_cast<std::uintptr_t>(block) % 64 == 0; }

[[maybe_unused]] std::vector<Buffer> some(std::size_t bytes, int count) {
  std::vector<Buffer> blocks;
  for (int i = 0; i < count; ++i) blocks.emplace_back(bytes);
  return blocks;
}

}  // namespace

TEST_CASE("blocks are aligned, writable to their last byte and at most an eighth larger than asked") {
  for (std::size_t wanted = 1; wanted < 20'000'000; wanted = wanted * 5 / 4 + 1) {
    std::size_t bytes = wanted;
    void* block = BufferPool::instance().allocate(bytes);
    CHECK(aligned(block));
    CHECK(bytes >= wanted);
    if (wanted > 4096) CHECK(bytes - wanted <= wanted / 8);
    std::memset(block, 0x5a, wanted);
    BufferPool::instance().deallocate(block, bytes);
  }
  BufferPool::instance().release();
}

TEST_CASE("a freed block is handed out again, and not for what is larger") {
  BufferPool& pool = BufferPool::instance();
  pool.release();
  CHECK(pool.pooled() == 0);

  const void* first = nullptr;
  {
    const Buffer buffer(100'000);
    first = buffer.data();
  }
  const std::size_t kept = pool.pooled();
  CHECK(kept >= 100'000);
  const Buffer other(300'000);
  CHECK(other.data() != first);
  CHECK(pool.pooled() == kept);
  const Buffer again(100'000);
  CHECK(again.data() == first);
  CHECK(pool.pooled() == 0);
}

TEST_CASE("a block serves what is somewhat smaller, and nothing much smaller") {
  BufferPool& pool = BufferPool::instance();
  pool.release();
  const void* block = nullptr;
  {
    const Buffer large(200'000);
    block = large.data();
  }
  {
    const Buffer smaller(170'000);
    CHECK(smaller.data() == block);
    CHECK(pool.pooled() == 0);
  }
  const Buffer less(150'000), half(100'000);
  CHECK(less.data() != block);
  CHECK(half.data() != block);
  const Buffer again(200'000);  // it is still as large as it was
  CHECK(again.data() == block);
}

TEST_CASE("release keeps what shares a large page with a block in use, which would else lie in small ones") {
  BufferPool& pool = BufferPool::instance();
  std::size_t size = 300'000, next_size = size;
  auto* const used = static_cast<char*>(pool.allocate(size));
  auto* const unused = static_cast<char*>(pool.allocate(next_size));
  if (unused == used + size && reinterpret_cast<std::uintptr_t>(unused) % (std::size_t{2} << 20) != 0) {  // both are of the arena, and of one page
    unused[0] = 7;
    pool.deallocate(unused, next_size);
    pool.release();
    next_size = 300'000;
    auto* const again = static_cast<char*>(pool.allocate(next_size));
    CHECK(again == unused);
    CHECK(again[0] == 7);
  }
  pool.deallocate(unused, next_size);
  pool.deallocate(used, size);
}

TEST_CASE("release gives everything unused back and leaves what is in use") {
  BufferPool& pool = BufferPool::instance();
  Buffer used(5'000'000);
  std::memset(used.data(), 7, 5'000'000);
  { const Buffer unused(6'000'000); }
  CHECK(pool.pooled() >= 6'000'000);
  pool.release();
  CHECK(pool.pooled() == 0);
  CHECK(static_cast<unsigned char*>(used.data())[4'999'999] == 7);
}

TEST_CASE("buffers move") {
  Buffer first(1000);
  void* block = first.data();
  Buffer second(std::move(first));
  CHECK(second.data() == block);
  CHECK(first.data() == nullptr);  // NOLINT: empty after the move, by contract
  Buffer third;
  CHECK(third.data() == nullptr);
  third = std::move(second);
  CHECK(third.data() == block);
  Buffer& itself = third;
  third = std::move(itself);
  CHECK(third.data() == block);
  CHECK(Buffer(0).data() == nullptr);
}

TEST_CASE("what cannot be had is said so, and the pool goes on") {
  for (const std::size_t bytes : {std::numeric_limits<std::size_t>::max(), std::numeric_limits<std::size_t>::max() / 2 + 2,
                                  std::numeric_limits<std::size_t>::max() / 2}) {
    CHECK_THROWS_WITH_AS(Buffer{bytes}, concat("out of memory: no block of ", bytes, " bytes is to be had").c_str(), Error);
  }
  CHECK(aligned(Buffer(64).data()));
}

#if defined(__linux__) && !defined(JANUSFLOW_POISON_POOL)
TEST_CASE("what is held for reuse makes room, where the system gives no more") {
  constexpr std::size_t held = 200'000, wanted = 250'000;  // neither is the arena's, nor serves the other
  BufferPool::instance().release();
  { const std::vector<Buffer> blocks = some(held, 100); }
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t now = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
    const rlimit limit{now, now};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(0);
    try {
      const std::vector<Buffer> blocks = some(wanted, 40);
    } catch (const Error&) {
      _exit(1);
    }
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  BufferPool::instance().release();
}
#endif

TEST_CASE("threads never share a block") {
  constexpr int threads = 8, rounds = 2000;
  std::vector<int> damaged(threads);
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([t, &damaged] {
      std::vector<std::pair<Buffer, std::size_t>> held;
      for (int i = 0; i < rounds; ++i) {
        const auto bytes = static_cast<std::size_t>(64 << (i * 7 + t) % 8);
        held.emplace_back(Buffer(bytes), bytes);
        std::memset(held.back().first.data(), t + 1, bytes);
        if (held.size() < 5) continue;
        // All that this thread wrote is still there when it lets the oldest go.
        const auto* begin = static_cast<const unsigned char*>(held.front().first.data());
        for (std::size_t b = 0; b < held.front().second; ++b) damaged[static_cast<std::size_t>(t)] += begin[b] != t + 1;
        held.erase(held.begin());
        if (i % 97 == 0) BufferPool::instance().release();
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (const int bytes : damaged) CHECK(bytes == 0);
}

TEST_CASE("blocks in use at the same time differ") {
  std::vector<Buffer> buffers;
  std::set<void*> blocks;
  for (int i = 0; i < 100; ++i) blocks.insert(buffers.emplace_back(1000).data());
  CHECK(blocks.size() == 100);
}
