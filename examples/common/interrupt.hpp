// Ctrl-C: ends the program while it computes; asks it to stop at the next good moment where something would be left behind.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace examples {

/// Thrown where a program stops because it was asked to.
struct Interrupted {};

/// While it lives, the first SIGINT, SIGTERM or SIGHUP is only noted, and the second ends the program. A hang-up that is ignored
/// already, as nohup has it, stays so.
class InterruptGuard {
 public:
  /// The exit status where a signal ended a program.
  static constexpr int status = 130;

  /// `sentence` is what is said on standard error when the program is ended.
  explicit InterruptGuard(std::string sentence) {
    sentence_ = '\n' + std::move(sentence) + '\n';
    noted_ = 0;
    at_once_ = 0;
    struct sigaction action {};
    action.sa_handler = act;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    struct sigaction hang_up {};
    sigaction(SIGHUP, nullptr, &hang_up);
    minds_hang_up_ = hang_up.sa_handler != SIG_IGN;
    if (minds_hang_up_) sigaction(SIGHUP, &action, nullptr);
    std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large is an error of its write
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard() {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
    if (minds_hang_up_) std::signal(SIGHUP, SIG_DFL);
  }

  static bool requested() { return noted_ != 0; }
  static void throw_if_requested() {
    if (requested()) throw Interrupted();
  }
  /// What was noted is done with: the program goes on.
  static void forget() { noted_ = 0; }
  /// The exit status of a program that has stopped because it was asked to, unless Ctrl-C asked: then it ends here.
  static int stopped() {
    if (noted_ != SIGINT) return status;
    std::fflush(nullptr);
    end(SIGINT);
  }

 private:
  /// How the first one is taken from here to the scope's end, then as before. Throws Interrupted if there was one already.
  template <int at_once>
  class Scope {
   public:
    Scope() : before_(at_once_.exchange(at_once)) {  // first: one that comes behind the question is taken as it is in the scope
      if (!requested()) return;
      at_once_ = before_;
      throw Interrupted();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { at_once_ = before_; }

   private:
    const int before_;
  };

  /// Ctrl-C ends a program as if it had no handler: a shell sees the same status, but its loop ends too, where an exit would be no more
  /// than the end of one round.
  [[noreturn]] static void end(int signal) {
    if (signal == SIGINT) {
      std::signal(SIGINT, SIG_DFL);
      sigset_t it;
      sigemptyset(&it);
      sigaddset(&it, SIGINT);
      pthread_sigmask(SIG_UNBLOCK, &it, nullptr);  // it is blocked where it is handled
      raise(SIGINT);
    }
    _exit(status);
  }

  static void act(int signal) {
    const int error = errno;  // may be about to be looked at
    const bool terminal = isatty(STDERR_FILENO);
    const bool ends = noted_.exchange(signal) || at_once_;
    const std::string_view text = ends ? std::string_view(sentence_) : "\nstopping; again to stop at once\n";
    // On a terminal a line of progress may stand before it; elsewhere only the last word counts.
    if (terminal || ends) [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data() + !terminal, text.size() - !terminal);
    if (ends) end(signal);
    errno = error;
  }

  bool minds_hang_up_ = false;
  inline static std::string sentence_;
  // Any thread may be the one that takes the signal: a std::sig_atomic_t is for a program's only one.
  inline static std::atomic<int> noted_ = 0, at_once_ = 0;
  static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may wait for no lock");

 public:
  /// A time at which the first one ends the program too: it computes, or waits for a line, and leaves nothing behind.
  using AtOnce = Scope<1>;
  /// Within such a time, a while in which the first one is only noted.
  using Noted = Scope<0>;
};

}  // namespace examples
