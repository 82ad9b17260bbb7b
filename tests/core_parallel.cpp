// Parallel loops: every piece once, exceptions, nesting, and results that do not depend on the number of threads.
#include "janusflow/core/parallel.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cfenv>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace janusflow;

namespace {

/// Sets the number of threads for one scope.
struct Threads {
  explicit Threads(int threads) : before(num_threads()) { set_num_threads(threads); }
  ~Threads() { set_num_threads(before); }
  int before;
};

}  // namespace

TEST_CASE("the number of threads") {
  CHECK(physical_cores() >= 1);
  CHECK(static_cast<unsigned>(physical_cores()) <= std::max(1u, std::thread::hardware_concurrency()));
  CHECK(num_threads() == physical_cores());
  {
    const Threads three(3);
    CHECK(num_threads() == 3);
    CHECK_THROWS_WITH_AS(set_num_threads(0), "threads must be between 1 and 1024, not 0", Error);
    CHECK_THROWS_WITH_AS(set_num_threads(-4), "threads must be between 1 and 1024, not -4", Error);
    CHECK_THROWS_WITH_AS(set_num_threads(1025), "threads must be between 1 and 1024, not 1025", Error);
    CHECK(num_threads() == 3);
  }
  CHECK(num_threads() == physical_cores());
}

TEST_CASE("every piece runs exactly once") {
  for (const int threads : {1, 2, 3, 7}) {
    const Threads scope(threads);
    for (const Index count : {0, 1, 2, 6, 7, 8, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
      parallel_for(count, [&](Index i) { ++runs[static_cast<std::size_t>(i)]; });
      for (const auto& run : runs) CHECK(run == 1);
    }
  }
  parallel_for(-3, [](Index) { FAIL("there is no piece to run"); });
}

TEST_CASE("no more threads run than were asked for") {
  const Threads scope(3);
  std::atomic<int> now = 0, most = 0;
  parallel_for(64, [&](Index) {
    const int running = ++now;
    int seen = most;
    while (running > seen && !most.compare_exchange_weak(seen, running)) {
    }
    std::this_thread::yield();
    --now;
  });
  CHECK(most <= 3);
  CHECK(most >= 1);
}

TEST_CASE("an exception comes out as it went in, and the loop can run again") {
  for (const int threads : {1, 2, 4}) {
    const Threads scope(threads);
    CHECK_THROWS_WITH_AS(parallel_for(100, [](Index i) { require(i != 57, "piece ", i, " failed"); }), "piece 57 failed", Error);
    CHECK_THROWS_AS(parallel_for(8, [](Index) { throw std::out_of_range("each"); }), std::out_of_range);
    std::atomic<Index> sum = 0;
    parallel_for(10, [&](Index i) { sum += i; });
    CHECK(sum == 45);
  }
}

TEST_CASE("of several failures the first piece's is reported, whatever the threads") {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads scope(threads);
    for (int repeat = 0; repeat < 20; ++repeat) {
      CHECK_THROWS_WITH_AS(parallel_for(50, [](Index i) { require(i < 20, "piece ", i); }), "piece 20", Error);
    }
  }
  // Also where a later piece, which had begun (not waited for for ever: a runtime may be told to have fewer threads), fails after it.
  const Threads scope(2);
  std::atomic<int> begun = 0;
  const auto piece = [&](Index i) {
    ++begun;
    for (int turn = 0; begun < 2 && turn < 1'000'000; ++turn) std::this_thread::yield();
    if (i == 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    fail("piece ", i);
  };
  CHECK_THROWS_WITH_AS(parallel_for(2, piece), "piece 0", Error);
}

TEST_CASE("a loop inside a loop runs its pieces in order on its own thread") {
  const Threads scope(4);
  std::vector<std::vector<Index>> order(8);
  parallel_for(8, [&](Index outer) {
    parallel_for(5, [&](Index inner) { order[static_cast<std::size_t>(outer)].push_back(inner); });
  });
  for (const auto& inner : order) CHECK(inner == std::vector<Index>{0, 1, 2, 3, 4});
}

TEST_CASE("loops of several threads of the program do not disturb each other") {
  std::vector<std::thread> programs;
  std::vector<Index> sums(4);
  for (auto& sum : sums) {
    programs.emplace_back([&sum] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        std::atomic<Index> total = 0;
        parallel_for(100, [&](Index i) { total += i; });
        sum += total;
      }
    });
  }
  for (std::thread& program : programs) program.join();
  for (const Index sum : sums) CHECK(sum == 50 * 4950);
}

TEST_CASE("a forked process runs its loops, though it has none of the threads") {
  const Threads scope(4);
  std::atomic<Index> before = 0;
  parallel_for(100, [&](Index i) { before += i; });
  CHECK(before == 4950);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);  // rather than wait for threads that are not there
    Index sum = 0;
    for (const int threads : {4, 3}) {
      set_num_threads(threads);
      parallel_for(100, [&](Index i) { sum += i; });  // in order on one thread: no need of an atomic sum
    }
    _exit(sum == 2 * 4950 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  std::atomic<Index> after = 0;
  parallel_for(100, [&](Index i) { after += i; });
  CHECK(after == 4950);
}

TEST_CASE("every thread rounds as the caller's does, and as before when the loop is over") {
  const Threads scope(3);
  // Each piece waits for the others (not for ever: a runtime may be told to have fewer threads), so that every thread takes one.
  const auto quotients = [] {
    std::vector<double> list(3);
    std::atomic<int> begun = 0;
    parallel_for(3, [&](Index i) {
      ++begun;
      for (int turn = 0; begun < 3 && turn < 1'000'000; ++turn) std::this_thread::yield();
      const volatile double one = 1, three = 3;
      list[static_cast<std::size_t>(i)] = one / three;
    });
    return list;
  };
  const std::vector<double> nearest = quotients();  // the threads are there before the mode is set
  std::fesetround(FE_UPWARD);
  const std::vector<double> upward = quotients();
  std::fesetround(FE_TONEAREST);
  const volatile double one = 1, three = 3;
  CHECK(nearest == std::vector<double>(3, one / three));
  CHECK(upward == std::vector<double>(3, std::nextafter(one / three, 1.0)));
  CHECK(quotients() == nearest);
#if defined(_OPENMP)
  // Nor does the mode stay with OpenMP's threads, which the program may use itself.
  std::fesetround(FE_UPWARD);
  quotients();
  std::fesetround(FE_TONEAREST);
  std::vector<double> own(3, one / three);
#pragma omp parallel num_threads(3)
  own[static_cast<std::size_t>(omp_get_thread_num())] = one / three;
  CHECK(own == nearest);
#endif
}

TEST_CASE("chunks cover the range, in sizes that do not depend on the threads") {
  for (const Index count : {0, 1, 9, 10, 11, 100}) {
    std::vector<std::vector<std::pair<Index, Index>>> seen;
    for (const int threads : {1, 3}) {
      const Threads scope(threads);
      std::vector<std::pair<Index, Index>> chunks(static_cast<std::size_t>((count + 9) / 10), {-1, -1});
      parallel_chunks(count, 10, [&](Index begin, Index end) { chunks[static_cast<std::size_t>(begin / 10)] = {begin, end}; });
      Index next = 0;
      for (const auto& [begin, end] : chunks) {
        CHECK(begin == next);
        CHECK(end - begin <= 10);
        next = end;
      }
      CHECK(next == count);
      seen.push_back(chunks);
    }
    CHECK(seen[0] == seen[1]);
  }
}

TEST_CASE("sums kept per chunk are equal bit for bit for any number of threads") {
  const auto sum = [](int threads) {
    const Threads scope(threads);
    constexpr Index count = 10'007, grain = 64;
    std::vector<float> partial((count + grain - 1) / grain);
    parallel_chunks(count, grain, [&](Index begin, Index end) {
      float part = 0;
      for (Index i = begin; i < end; ++i) part += std::sin(static_cast<float>(i)) * 1e3f;
      partial[static_cast<std::size_t>(begin / grain)] = part;
    });
    float total = 0;
    for (const float part : partial) total += part;
    return total;
  };
  const float one = sum(1);
  CHECK(sum(2) == one);
  CHECK(sum(3) == one);
  CHECK(sum(16) == one);
}
