// One line on the terminal that says how far a program has got and how long it will still take.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

#include "janusflow/core/stopwatch.hpp"

namespace examples {

/// Writes to standard error, and only where that is a terminal; gone when the object is.
class Progress {
 public:
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// A stage whose length is not known.
  void stage(const std::string& what) { line(what + " ..."); }

  /// A stage of which `fraction` is done, in (0, 1], counted from the first call of start().
  void show(double fraction, const std::string& what) {
    const double left = fraction > 0 ? watch_.seconds() / fraction * (1 - fraction) : 0;
    std::string bar(static_cast<std::size_t>(fraction * width), '#');
    bar.resize(width, '.');
    line('[' + bar + "] " + what + ", " + time(left) + " left");
  }
  void start() { watch_ = {}; }

  void clear() {
    if (shown_) std::fputs("\r\033[K", stderr);
    shown_ = false;
  }

 private:
  static constexpr std::size_t width = 30;

  static std::string time(double seconds) {
    const long whole = static_cast<long>(seconds + 0.5);
    char text[32];
    std::snprintf(text, sizeof(text), "%ld:%02ld", whole / 60, whole % 60);
    return text;
  }

  void line(const std::string& text) {
    if (!terminal_) return;
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    std::fflush(stderr);
    shown_ = true;
  }

  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool shown_ = false;
  janusflow::Stopwatch watch_;
};

}  // namespace examples
