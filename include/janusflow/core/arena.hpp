// Address space for large blocks, whose neighbours join again when they are free: what one stage of a model gave back serves the next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace janusflow {

/// As many addresses as the machine has memory, taken once; pages come when they are touched, and stay until trim(). A block is the
/// first free range that is large enough, so that blocks lie as low as they can. Not thread-safe. Where the system has no such
/// addresses to give, every take() is in vain.
class Arena {
 public:
  /// Blocks begin and end at multiples of it.
  static constexpr std::size_t grain = std::size_t{1} << 15;

  /// trim() gives back whole pages: the system's, or larger ones of `least_page` bytes, a power of two of at most 2 MiB.
  explicit Arena([[maybe_unused]] std::size_t least_page = 1) {
#if defined(__linux__)
    constexpr std::size_t huge_page = std::size_t{2} << 20;
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0) return;
    page_ = std::max(static_cast<std::size_t>(page), least_page);
    const std::size_t size = static_cast<std::size_t>(pages) * static_cast<std::size_t>(page) / huge_page * huge_page;
    void* const all = mmap(nullptr, size + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return;
    const std::size_t before = (huge_page - reinterpret_cast<std::uintptr_t>(all) % huge_page) % huge_page;
    begin_ = static_cast<char*>(all) + before;
    size_ = size;
    if (before > 0) munmap(all, before);
    munmap(begin_ + size, huge_page - before);
    madvise(begin_, size_, MADV_HUGEPAGE);  // fewer TLB misses on packed weights
#endif
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
#if defined(__linux__)
    if (begin_) munmap(begin_, size_);
#endif
  }

  /// Bytes of all addresses; 0 where there are none.
  std::size_t size() const { return size_; }
  bool owns(const void* block) const {
    const auto at = reinterpret_cast<std::uintptr_t>(block), begin = reinterpret_cast<std::uintptr_t>(begin_);
    return at >= begin && at < begin + size_;
  }
  /// A block of `bytes`, which become a multiple of the grain; null, and bytes as they were, where there is none.
  void* take(std::size_t& bytes) {
    if (bytes > size_) return nullptr;
    const std::size_t wanted = (bytes + grain - 1) / grain * grain;
    for (auto at = free_.begin(); at != free_.end(); ++at) {
      if (at->second.size < wanted) continue;
      const std::size_t place = at->first;
      auto range = free_.extract(at);
      range.key() += wanted;
      range.mapped().size -= wanted;
      if (range.mapped().size > 0) free_.insert(std::move(range));
      bytes = wanted;
      return begin_ + place;
    }
    if (wanted > size_ - top_) return nullptr;
    const std::size_t place = top_;
    top_ += wanted;
    if (top_ > touched_) touched_ = top_;
    bytes = wanted;
    return begin_ + place;
  }
  /// Takes a block back.
  void give(void* block, std::size_t bytes) {
    std::size_t place = static_cast<std::size_t>(static_cast<char*>(block) - begin_);
    Range range{bytes, true};
    auto after = free_.lower_bound(place);
    if (after != free_.end() && after->first == place + range.size) {
      range.size += after->second.size;
      after = free_.erase(after);
    }
    if (after != free_.begin())
      if (const auto before = std::prev(after); before->first + before->second.size == place) {
        place = before->first;
        range.size += before->second.size;
        free_.erase(before);
      }
    if (place + range.size == top_) top_ = place;
    else free_.emplace(place, range);
  }
  /// Gives the pages that lie in free ranges back to the system.
  void trim() {
    for (auto& [place, range] : free_) {
      if (range.pages) drop(place, range.size);
      range.pages = false;
    }
    if (touched_ > top_) drop(top_, touched_ - top_);
    touched_ = top_;
  }
  /// Bytes of free ranges that may have pages.
  std::size_t idle() const {
    std::size_t bytes = touched_ - top_;
    for (const auto& [place, range] : free_) bytes += range.pages ? range.size : 0;
    return bytes;
  }

 private:
  struct Range {
    std::size_t size;
    bool pages;  // some of it may have been touched since the last trim
  };

  // Whole pages of the range alone: they may be larger than the grain, and the system would take what is left of the last one too.
  void drop([[maybe_unused]] std::size_t place, [[maybe_unused]] std::size_t size) {
#if defined(__linux__)
    const std::size_t begin = (place + page_ - 1) / page_ * page_, end = (place + size) / page_ * page_;
    if (begin < end) madvise(begin_ + begin, end - begin, MADV_DONTNEED);
#endif
  }

  char* begin_ = nullptr;
  std::size_t size_ = 0, page_ = 1;
  std::size_t top_ = 0;      // all beyond is free
  std::size_t touched_ = 0;  // nothing beyond has pages
  std::map<std::size_t, Range> free_;
};

}  // namespace janusflow
