// Seconds since a moment, and the process's largest memory so far.
#pragma once

#include <chrono>
#include <cstddef>
#include <fstream>
#include <string>

namespace janusflow {

/// Measures from its construction.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// The largest resident set of this process so far in bytes (Linux: VmHWM); 0 where it cannot be told.
inline std::size_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  return 0;
}

}  // namespace janusflow
