// Ctrl-C: ends the program while it computes; asks it to stop at the next good moment where something would be left behind.
#pragma once

#include <unistd.h>

#include <csignal>
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
  /// The exit status where Ctrl-C ended a program.
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

 private:
  /// How the first one is taken from here to the scope's end, then as before. Throws Interrupted if there was one already.
  template <int at_once>
  class Scope {
   public:
    Scope() : before_(at_once_) {
      throw_if_requested();
      at_once_ = at_once;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { at_once_ = before_; }

   private:
    const std::sig_atomic_t before_;
  };

  static void act(int) {
    const bool terminal = isatty(STDERR_FILENO);
    const bool ends = at_once_ || noted_;
    noted_ = 1;
    const std::string_view text = ends ? std::string_view(sentence_) : "\nstopping; again to stop at once\n";
    // On a terminal a line of progress may stand before it; elsewhere only the last word counts.
    if (terminal || ends) [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data() + !terminal, text.size() - !terminal);
    if (ends) _exit(status);
  }

  bool minds_hang_up_ = false;
  inline static std::string sentence_;
  inline static volatile std::sig_atomic_t noted_ = 0, at_once_ = 0;

 public:
  /// A time at which the first one ends the program too: it computes, or waits for a line, and leaves nothing behind.
  using AtOnce = Scope<1>;
  /// Within such a time, a while in which the first one is only noted.
  using Noted = Scope<0>;
};

}  // namespace examples
