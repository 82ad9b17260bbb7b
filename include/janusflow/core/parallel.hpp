// Loops over independent pieces of work, shared out to OpenMP threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "janusflow/core/float_mode.hpp"
#include "janusflow/core/shape.hpp"

namespace janusflow {

/// Physical cores this process may use (hyper-threads share a core's multipliers and only add contention); at least 1.
inline int physical_cores() {
#if defined(_OPENMP)
  const int logical = omp_get_num_procs();
#else
  const int logical = 1;
#endif
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return logical;
  std::set<std::pair<std::string, std::string>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::ifstream package(folder + "physical_package_id"), core(folder + "core_id");
    std::string package_id, core_id;
    if (!(package >> package_id) || !(core >> core_id)) return logical;
    cores.emplace(package_id, core_id);
  }
  if (!cores.empty()) return static_cast<int>(cores.size());
#endif
  return logical;
}

namespace detail {
inline int& thread_setting() {
  static int threads = physical_cores();
  return threads;
}
}  // namespace detail

/// Threads that the library's loops use: the physical cores, unless set_num_threads says otherwise.
inline int num_threads() { return detail::thread_setting(); }

/// Sets the number of threads for all later work; throws unless it is between 1 and 1024.
inline void set_num_threads(int threads) {
  require(threads >= 1 && threads <= 1024, "threads must be between 1 and 1024, not ", threads);
  detail::thread_setting() = threads;
}

namespace detail {

/// Whether OpenMP's threads were left behind by a fork(): the child has none of them, and GCC's runtime would wait for them for ever.
/// A process forked before its parent's first call has threads of its own.
inline bool threads_left_behind() {
  static bool left_behind = false;
#if defined(__unix__) || defined(__APPLE__)
  [[maybe_unused]] static const int watched = pthread_atfork(nullptr, nullptr, [] { left_behind = true; });
#endif
  return left_behind;
}

/// parallel_for on a body behind a pointer: the threads and the exceptions are compiled once, not for every loop.
inline void run_pieces(Index count, void* body, void (*piece)(void*, Index)) {
#if defined(_OPENMP)
  const int threads = static_cast<int>(std::min<Index>(num_threads(), count));
  if (threads > 1 && !omp_in_parallel() && !threads_left_behind()) {
    std::exception_ptr error;
    std::atomic<Index> failed = count;
    std::mutex mutex;
    // Rounding mode and flushing to zero (a library built with -ffast-math sets it) are each thread's own, and GCC's runtime leaves them so.
    const FloatMode of_caller;
#pragma omp parallel num_threads(threads)
    {
      const FloatMode own;
      of_caller.set();
#pragma omp for schedule(dynamic, 1) nowait
      for (Index i = 0; i < count; ++i) {
        if (i > failed.load(std::memory_order_relaxed)) continue;
        try {
          piece(body, i);
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (i > failed) continue;
          failed = i;
          error = std::current_exception();
        }
      }
      own.set();
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#endif
  for (Index i = 0; i < count; ++i) piece(body, i);
}

}  // namespace detail

/// Calls body(i) for every i in [0, count), on num_threads() threads. The pieces must be independent: which thread runs which
/// piece is not defined, so results do not depend on it as long as no piece's arithmetic does. What the first failing piece throws
/// is rethrown, on any number of threads; pieces after it may not run. All threads round as the caller's does. A process forked after
/// such a loop runs its own on one thread.
template <class Body>
void parallel_for(Index count, Body&& body) {
  using Callable = std::remove_reference_t<Body>;
  // The cast away of const is undone before the call.
  detail::run_pieces(count, const_cast<void*>(static_cast<const void*>(&body)),
                     [](void* it, Index i) { (*static_cast<Callable*>(it))(i); });
}

/// Calls body(begin, end) on consecutive chunks of at most `grain` that cover [0, count). The chunks depend on count and grain
/// alone, never on the number of threads: sums kept per chunk and added in order are reproducible.
template <class Body>
void parallel_chunks(Index count, Index grain, Body&& body) {
  parallel_for((count + grain - 1) / grain, [&](Index chunk) {
    const Index begin = chunk * grain;
    body(begin, std::min(count, begin + grain));
  });
}

}  // namespace janusflow
