// How much the processor's caches hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <string>

namespace janusflow {

/// Bytes of the last cache before memory, as the operating system tells (glibc's sysconf counts all of a server's), and 16 MB where it
/// does not. Only speed depends on it.
inline std::size_t last_cache_bytes() {
  static const std::size_t bytes = [] {
    std::size_t largest = 0;
    for (int index = 0;; ++index) {
      std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");  // as "32768K"
      std::size_t size = 0;
      char unit = 0;
      if (!(file >> size)) break;
      file >> unit;
      largest = std::max(largest, size << (unit == 'M' ? 20 : unit == 'K' ? 10 : 0));
    }
    return largest > 0 ? largest : std::size_t{16} << 20;
  }();
  return bytes;
}

}  // namespace janusflow
