// One line on the terminal that says how far a program has got and how long it will still take.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "janusflow/core/stopwatch.hpp"

namespace examples {

/// Writes to standard error, and only where that is a terminal that can overwrite a line; gone when the object is.
class Progress {
 public:
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// A stage whose length is not known.
  void stage(const std::string& what) { line(what + " ..."); }

  /// A stage of which `fraction` is done, in [0, 1], since start().
  void show(double fraction, const std::string& what) { show(fraction, what, watch_.seconds()); }
  /// The same where that much took so many seconds.
  void show(double fraction, const std::string& what, double seconds) {
    const std::string left = fraction > 0 ? ", " + time(seconds / fraction * (1 - fraction)) + " left" : "";
    const std::ptrdiff_t others = 3 + std::ssize(left);  // and "[] "
    const auto width = std::clamp<std::ptrdiff_t>(room() - others - std::ssize(what), 10, 30);
    std::string bar(static_cast<std::size_t>(fraction * static_cast<double>(width)), '#');
    bar.resize(static_cast<std::size_t>(width), '.');
    line('[' + bar + "] " + cut(what, room() - others - width) + left);
  }
  void start() { watch_ = {}; }

  void clear() {
    if (shown_ && in_front()) std::fputs("\r\033[K", stderr);
    shown_ = false;
  }

 private:
  /// "1:02:03" or "2:03"
  static std::string time(double seconds) {
    const long whole = static_cast<long>(seconds + 0.5), hours = whole / 3600;
    char text[32];
    if (hours > 0) std::snprintf(text, sizeof(text), "%ld:%02ld:%02ld", hours, whole / 60 % 60, whole % 60);
    else std::snprintf(text, sizeof(text), "%ld:%02ld", whole / 60, whole % 60);
    return text;
  }

  static bool overwrites() {
    const char* terminal = std::getenv("TERM");
    return isatty(STDERR_FILENO) != 0 && terminal && std::string_view(terminal) != "dumb";
  }

  /// Whether this job has the terminal: where it runs in the background, it would overwrite what is typed there.
  static bool in_front() {
    const pid_t job = tcgetpgrp(STDERR_FILENO);
    return job < 0 || job == getpgrp();
  }

  /// Bytes that a line may have, which no character is wider than: the last column stays free, and a window may change its size.
  static std::ptrdiff_t room() {
    winsize size{};
    return (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80) - 1;
  }

  /// So many bytes of it, the last of them dots where it is longer, and no character in halves.
  static std::string cut(const std::string& text, std::ptrdiff_t bytes) {
    if (std::ssize(text) <= bytes) return text;
    auto length = static_cast<std::size_t>(std::max<std::ptrdiff_t>(bytes - 2, 0));
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
    return text.substr(0, length) + "..";
  }

  /// Not beyond the terminal's edge: of a line that wraps only the last row could be overwritten.
  void line(const std::string& text) {
    if (!terminal_ || !in_front()) return;
    std::fprintf(stderr, "\r\033[K%s", cut(text, room()).c_str());
    std::fflush(stderr);
    shown_ = true;
  }

  const bool terminal_ = overwrites();
  bool shown_ = false;
  janusflow::Stopwatch watch_;
};

}  // namespace examples
