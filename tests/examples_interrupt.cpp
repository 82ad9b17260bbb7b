// Ctrl-C in the example programs: whichever thread takes it, whenever it comes.
#include "../examples/common/interrupt.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

using namespace examples;

namespace {

constexpr int ended = 128 + SIGINT;  // by that signal

/// The exit status, as a shell tells it, of a child that does `body` and gets SIGINT `delay` after it began; 0 where Interrupted is thrown.
template <class Body>
int interrupted(std::chrono::microseconds delay, Body&& body) {
  int begun[2];
  REQUIRE(pipe(begun) == 0);
  std::fflush(nullptr);  // or the child would write it too
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    close(STDERR_FILENO);
    const InterruptGuard guard("ended");
    if (write(begun[1], "", 1) != 1) _exit(7);
    try {
      body();
    } catch (const Interrupted&) {
      _exit(0);
    }
    _exit(7);
  }
  char byte;
  REQUIRE(read(begun[0], &byte, 1) == 1);
  close(begun[0]);
  close(begun[1]);
  std::this_thread::sleep_for(delay);
  kill(child, SIGINT);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  CHECK(WEXITSTATUS(status) != ended);  // a shell's loop would go on
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("Ctrl-C is noted by whichever thread takes it, and the second one ends the program") {
  const auto noting = [](int times) {
    return interrupted(std::chrono::microseconds(0), [times] {
      while (!InterruptGuard::requested()) std::this_thread::yield();
      InterruptGuard::forget();
      std::thread([times] {
        for (int i = 0; i < times; ++i) raise(SIGINT);
      }).join();
      _exit(InterruptGuard::requested() ? 0 : 1);
    });
  };
  CHECK(noting(0) == 1);
  CHECK(noting(1) == 0);
  CHECK(noting(2) == ended);
}

TEST_CASE("what stops because of Ctrl-C ends by that signal; by another, or by none, with the same status") {
  const auto stopping = [](int signal) {
    return interrupted(std::chrono::microseconds(0), [signal] {
      while (!InterruptGuard::requested()) std::this_thread::yield();
      if (signal != SIGINT) InterruptGuard::forget();
      if (signal == SIGTERM) raise(signal);
      const int status = InterruptGuard::stopped();
      _exit(status == InterruptGuard::status ? 0 : 1);
    });
  };
  CHECK(stopping(SIGINT) == ended);
  CHECK(stopping(SIGTERM) == 0);
  CHECK(stopping(0) == 0);
}

TEST_CASE("a noted Ctrl-C leaves errno as it was") {
  CHECK(interrupted(std::chrono::microseconds(0), [] {
          errno = EEXIST;
          while (!InterruptGuard::requested()) std::this_thread::yield();  // which leaves errno alone
          _exit(errno == EEXIST ? 0 : 1);
        }) == 0);
}

TEST_CASE("no moment at which a program begins to compute misses Ctrl-C") {
  for (int i = 0; i < 200; ++i) {
    const int status = interrupted(std::chrono::microseconds(i), [] {
      for (;;) {
        const InterruptGuard::AtOnce computing;
        if (InterruptGuard::requested()) _exit(1);  // would compute on
      }
    });
    CHECK((status == 0 || status == ended));
  }
}
