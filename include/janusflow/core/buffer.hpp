// Pooled, 64-byte aligned storage: what a step frees, the next step takes again.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace janusflow {

/// The process-wide pool behind Buffer. Freed blocks are kept by size and handed out again, so that a sampling loop touches the
/// allocator, and the kernel's page zeroing, in its first step only. Thread-safe.
class BufferPool {
 public:
  static BufferPool& instance() {
    // Never destroyed: tensors with static storage duration may outlive any static of ours.
    static BufferPool* pool = new BufferPool;
    return *pool;
  }

  /// `bytes` is rounded up to the block's size. Throws std::bad_alloc.
  void* allocate(std::size_t& bytes) {
    bytes = block_size(bytes);
    {
      const std::lock_guard lock(mutex_);
      if (const auto free = free_.find(bytes); free != free_.end()) {
        void* block = free->second;
        free_.erase(free);
        pooled_ -= bytes;
        return block;
      }
    }
    if (void* block = fresh(bytes)) return block;
    release();  // memory held for reuse may be what is missing
    if (void* block = fresh(bytes)) return block;
    throw std::bad_alloc();
  }

  /// Takes a block of exactly `bytes` (as allocate returned it) back.
  void deallocate(void* block, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    try {
      free_.emplace(bytes, block);
      pooled_ += bytes;
    } catch (...) {
      std::free(block);
    }
  }

  /// Gives every unused block back to the system: call it where a stage ends whose sizes the next stage does not share.
  void release() noexcept {
    const std::lock_guard lock(mutex_);
    for (const auto& [bytes, block] : free_) std::free(block);
    free_.clear();
    pooled_ = 0;
  }

  /// Bytes held for reuse.
  std::size_t pooled() const {
    const std::lock_guard lock(mutex_);
    return pooled_;
  }

 private:
  static constexpr std::size_t huge_page = std::size_t{2} << 20;

  // Small blocks: powers of two; large ones: multiples of a sixteenth of the next power of two, at most 1/8 wasted.
  static std::size_t block_size(std::size_t bytes) {
    std::size_t power = 64;
    while (power < bytes) {
      if (power > (~std::size_t{0} >> 1)) throw std::bad_alloc();
      power *= 2;
    }
    if (power <= 4096) return power;
    const std::size_t step = power / 16;
    return (bytes + step - 1) / step * step;
  }

  static void* fresh(std::size_t bytes) {
    const std::size_t alignment = bytes >= huge_page ? huge_page : 64;
    if (bytes > ~std::size_t{0} - alignment) return nullptr;
    void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#if defined(__linux__)
    if (block && bytes >= huge_page) madvise(block, bytes, MADV_HUGEPAGE);  // fewer TLB misses on packed weights
#endif
    return block;
  }

  mutable std::mutex mutex_;
  std::multimap<std::size_t, void*> free_;
  std::size_t pooled_ = 0;
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
