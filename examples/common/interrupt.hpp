// Ctrl-C: the first asks the program to stop at the next good moment, the second kills it.
#pragma once

#include <unistd.h>

#include <csignal>
#include <string_view>

namespace examples {

/// Thrown where a program stops because it was asked to.
struct Interrupted {};

/// While it lives, the first SIGINT or SIGTERM is only noted; from then on they work as ever.
class InterruptGuard {
 public:
  InterruptGuard() { arm(); }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard() { disarm(); }

  /// Within a guard's life, a time at which the first one kills too, such as when the program waits for a line. What was noted
  /// before is forgotten afterwards.
  struct Suspended {
    Suspended() { disarm(); }
    Suspended(const Suspended&) = delete;
    Suspended& operator=(const Suspended&) = delete;
    ~Suspended() { arm(); }
  };

  static bool requested() { return noted_ != 0; }
  static void throw_if_requested() {
    if (requested()) throw Interrupted();
  }

 private:
  static void arm() {
    noted_ = 0;
    struct sigaction action {};
    action.sa_handler = note;
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one kills
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
  }
  static void disarm() {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
  }

  static void note(int) {
    noted_ = 1;
    if (!isatty(STDERR_FILENO)) return;
    constexpr std::string_view text = "\nstopping; again to stop at once\n";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
  }

  inline static volatile std::sig_atomic_t noted_ = 0;
};

}  // namespace examples
