// How much the processor's data caches hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <string>

namespace janusflow {

namespace detail {

/// Bytes of the largest cache of a level up to `deepest`, as the operating system tells (glibc's sysconf counts all of a server's); 0
/// where it does not.
inline std::size_t cache_bytes(int deepest) {
  std::size_t largest = 0;
  for (int index = 0;; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    std::ifstream sizes(folder + "/size"), levels(folder + "/level");  // as "32768K", "3"
    std::size_t size = 0;
    char unit = 0;
    int level = 0;
    if (!(sizes >> size) || !(levels >> level)) break;
    sizes >> unit;
    if (level <= deepest) largest = std::max(largest, size << (unit == 'M' ? 20 : unit == 'K' ? 10 : 0));
  }
  return largest;
}

}  // namespace detail

/// Bytes of the second-level cache, and 1 MB where that is not known. Only speed depends on it.
inline std::size_t second_cache_bytes() {
  static const std::size_t found = detail::cache_bytes(2), bytes = found > 0 ? found : std::size_t{1} << 20;
  return bytes;
}
/// Bytes of the last cache before memory, and 16 MB where that is not known. Only speed depends on it.
inline std::size_t last_cache_bytes() {
  static const std::size_t found = detail::cache_bytes(4), bytes = found > 0 ? found : std::size_t{16} << 20;
  return bytes;
}

}  // namespace janusflow
