// Pooled, 64-byte aligned storage: what a step frees, the next step takes again.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define JANUSFLOW_POISON_POOL 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define JANUSFLOW_POISON_POOL 1
#endif
#endif
#if defined(JANUSFLOW_POISON_POOL)
#include <sanitizer/asan_interface.h>
#endif

#include "janusflow/core/arena.hpp"
#include "janusflow/core/error.hpp"

namespace janusflow {

namespace detail {
// Tells AddressSanitizer which bytes are nobody's, though the pool keeps them: it finds their use as it would after free().
inline void poison([[maybe_unused]] void* begin, [[maybe_unused]] std::size_t bytes) {
#if defined(JANUSFLOW_POISON_POOL)
  __asan_poison_memory_region(begin, bytes);
#endif
}
inline void unpoison([[maybe_unused]] void* begin, [[maybe_unused]] std::size_t bytes) {
#if defined(JANUSFLOW_POISON_POOL)
  __asan_unpoison_memory_region(begin, bytes);
#endif
}

/// A few small free blocks that a thread keeps for itself: the pieces of a parallel loop take and give back the same ones all the time,
/// and would wait for each other at the pool's lock.
class ThreadBlocks {
 public:
  static constexpr std::size_t largest = std::size_t{1} << 16;

  /// The calling thread's, or null when it is ending.
  static ThreadBlocks* instance() {
    static thread_local bool ended = false;  // outlives the blocks
    static thread_local ThreadBlocks blocks(&ended);
    return ended ? nullptr : &blocks;
  }

  /// A block of exactly `bytes`, a size of the pool's up to `largest`, or null.
  void* take(std::size_t bytes) {
    auto& [size, count, list] = classes_[index(bytes)];
    return count > 0 ? list[--count] : nullptr;
  }
  /// False where the thread has enough of this size.
  bool put(void* block, std::size_t bytes) {
    auto& [size, count, list] = classes_[index(bytes)];
    if (count == list.size()) return false;
    size = bytes;
    list[count++] = block;
    return true;
  }
  /// Frees all.
  void release() {
    for (auto& [bytes, count, list] : classes_)
      for (; count > 0; --count) {
        unpoison(list[count - 1], bytes);
        std::free(list[count - 1]);
      }
  }

 private:
  explicit ThreadBlocks(bool* ended) : ended_(ended) {}
  ~ThreadBlocks() {
    release();
    *ended_ = true;
  }

  struct Class {
    std::size_t bytes = 0, count = 0;
    std::array<void*, 6> list = {};
  };
  /// Eight sizes between two powers of two, from 64 bytes on.
  static std::size_t index(std::size_t bytes) {
    const std::size_t power = std::bit_ceil(bytes);
    return (static_cast<std::size_t>(std::bit_width(power)) - 7) * 8 + bytes / (power / 16) - 9;
  }

  std::array<Class, 88> classes_{};
  bool* ended_;
};

}  // namespace detail

/// The process-wide pool behind Buffer. Freed blocks are handed out again, so that a sampling loop touches the allocator, and the kernel's
/// page zeroing, in its first step only: large ones by an arena, others kept by size, for what is as large or somewhat smaller. Thread-safe.
class BufferPool {
 public:
  static BufferPool& instance() {
    // Never destroyed: tensors with static storage duration may outlive any static of ours.
    static BufferPool* pool = new BufferPool;
    return *pool;
  }

  /// `bytes` becomes the block's size, which may be larger. Throws Error when there is no such memory.
  [[gnu::noinline]] void* allocate(std::size_t& bytes) {
    const std::size_t wanted = bytes;
    void* block = bytes >= large ? from_arena(bytes) : nullptr;
    if (!block) {
      bytes = block_size(bytes);
      auto* own = bytes <= detail::ThreadBlocks::largest ? detail::ThreadBlocks::instance() : nullptr;
      block = own ? own->take(bytes) : nullptr;
    }
    if (!block) block = reused(bytes);
    if (!block) block = fresh(bytes);
    if (!block) {
      release();  // memory held for reuse may be what is missing
      block = fresh(bytes);
    }
    require(block, "out of memory: no block of ", wanted, " bytes is to be had");
    detail::unpoison(block, wanted);
    detail::poison(static_cast<char*>(block) + wanted, bytes - wanted);
    return block;
  }

  /// Takes a block of exactly `bytes` (as allocate returned it) back.
  [[gnu::noinline]] void deallocate(void* block, std::size_t bytes) noexcept {
    if (bytes <= detail::ThreadBlocks::largest)
      if (auto* own = detail::ThreadBlocks::instance(); own && own->put(block, bytes)) return detail::poison(block, bytes);
    const std::lock_guard lock(mutex_);
    try {
      if (arena_.owns(block)) {
        arena_.give(block, bytes);
      } else {
        free_.emplace(bytes, block);
        pooled_ += bytes;
      }
      detail::poison(block, bytes);
    } catch (...) {  // no memory for the list: a block of the arena is lost
      if (!arena_.owns(block)) give_back(block, bytes);
    }
  }

  /// Gives every unused block back to the system, but for a few small ones of other threads and what shares a large page with blocks in use:
  /// call it where a stage ends whose sizes the next stage does not share.
  void release() noexcept {
    if (auto* own = detail::ThreadBlocks::instance()) own->release();
    const std::lock_guard lock(mutex_);
    for (const auto& [bytes, block] : free_) give_back(block, bytes);
    free_.clear();
    pooled_ = 0;
    arena_.trim();
  }

  /// Bytes held for reuse by any thread.
  std::size_t pooled() const {
    const std::lock_guard lock(mutex_);
    return pooled_ + arena_.idle();
  }

 private:
  // From here on a block is the arena's, where it has room: also a page of keys and values, for the large pages it lies in.
  static constexpr std::size_t large = std::size_t{1} << 18;
  static_assert(Arena::grain <= large / 8, "a block would be more than an eighth larger than asked for");

  void* from_arena(std::size_t& bytes) {
    const std::lock_guard lock(mutex_);
    return arena_.take(bytes);
  }

  // Small blocks: powers of two; large ones: multiples of a sixteenth of the next power of two, at most 1/8 wasted.
  static std::size_t block_size(std::size_t bytes) {
    std::size_t power = 64;
    while (power < bytes) {
      require(power <= (~std::size_t{0} >> 1), "out of memory: no block of ", bytes, " bytes is to be had");
      power *= 2;
    }
    if (power <= 4096) return power;
    const std::size_t step = power / 16;
    return (bytes + step - 1) / step * step;
  }

  /// The smallest free block that is not a quarter larger than `bytes`, which becomes its size, or null: where sizes vary, as those
  /// of training's batches do, the pool would else fill up with blocks of sizes that never come again.
  void* reused(std::size_t& bytes) {
    const std::lock_guard lock(mutex_);
    const auto free = free_.lower_bound(bytes);
    if (free == free_.end() || free->first - bytes > bytes / 4) return nullptr;
    void* block = free->second;
    bytes = free->first;
    free_.erase(free);
    pooled_ -= bytes;
    return block;
  }

  static void give_back(void* block, std::size_t bytes) noexcept {
    detail::unpoison(block, bytes);
    std::free(block);
  }

  /// A new block from the system, or null.
  void* fresh(std::size_t bytes) const {
    constexpr std::size_t alignment = 64;
    if (bytes > (arena_.size() > 0 ? arena_.size() : ~std::size_t{0} / 2 - alignment)) return nullptr;  // more than the machine has
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }

  // What is given back is whole large pages: the rest of one that were cut would be weights in small pages, and be read slower.
  static constexpr std::size_t large_page = std::size_t{2} << 20;

  mutable std::mutex mutex_;
  std::multimap<std::size_t, void*> free_;
  std::size_t pooled_ = 0;
  Arena arena_{large_page};
};

/// A block of the pool, 64-byte aligned, contents undefined. Moves, does not copy.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes) : bytes_(bytes), data_(bytes ? BufferPool::instance().allocate(bytes_) : nullptr) {}
  Buffer(Buffer&& other) noexcept
      : bytes_(std::exchange(other.bytes_, 0)), data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Buffer() {
    if (data_) BufferPool::instance().deallocate(data_, bytes_);
  }

  void* data() const { return data_; }

 private:
  std::size_t bytes_ = 0;
  void* data_ = nullptr;
};

}  // namespace janusflow
