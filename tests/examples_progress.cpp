// The line of progress, on a terminal as wide as it comes.
#include "../examples/common/progress.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

using namespace examples;

namespace {

/// What `body` writes to standard error where that is a terminal of so many columns.
template <class Body>
std::string on_terminal(unsigned short columns, const char* kind, Body&& body) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  REQUIRE(grantpt(terminal) == 0);
  REQUIRE(unlockpt(terminal) == 0);
  const int program = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  REQUIRE(program >= 0);
  winsize size{};
  size.ws_col = columns;
  REQUIRE(ioctl(program, TIOCSWINSZ, &size) == 0);
  setenv("TERM", kind, 1);
  const int before = dup(STDERR_FILENO);
  REQUIRE(dup2(program, STDERR_FILENO) >= 0);
  body();
  REQUIRE(dup2(before, STDERR_FILENO) >= 0);
  REQUIRE(write(program, "$", 1) == 1);  // where to read to
  std::string written;
  for (char byte = 0; byte != '$'; written += byte) REQUIRE(read(terminal, &byte, 1) == 1);
  written.pop_back();
  for (const int file : {before, program, terminal}) close(file);
  return written;
}

const std::string begin = "\r\033[K";

}  // namespace

TEST_CASE("a line of progress does not wrap: its bar shrinks, and then its text is cut") {
  const auto shown = [](unsigned short columns, double fraction, const std::string& what) {
    return on_terminal(columns, "xterm", [&] {
      Progress progress;
      progress.show(fraction, what, 0);
    });
  };
  CHECK(shown(80, 0.5, "step 3 of 6") == begin + "[###############...............] step 3 of 6, 0:00 left" + begin);
  CHECK(shown(80, 0, "encoding") == begin + "[..............................] encoding" + begin);  // nobody knows how long
  CHECK(shown(46, 0.5, "step 3 of 6") == begin + "[##########..........] step 3 of 6, 0:00 left" + begin);
  CHECK(shown(40, 1, "adaptation 3/6, ar 7.10") == begin + "[##########] adaptation 3/.., 0:00 left" + begin);
  CHECK(shown(33, 1, "äääääää") == begin + "[##########] äää.., 0:00 left" + begin);  // of 8 bytes, one in the middle of a character
  CHECK(shown(10, 1, "step") == begin + "[######.." + begin);
  CHECK(shown(0, 1, std::string(100, 'x')) == begin + "[##########] " + std::string(53, 'x') + ".., 0:00 left" + begin);
}

TEST_CASE("the time that is left is in proportion to what was taken, in hours where it is long") {
  const auto left = [](double fraction, double seconds) {
    return on_terminal(80, "xterm", [&] {
      Progress progress;
      progress.show(fraction, "x", seconds);
    });
  };
  CHECK(left(0.5, 59).ends_with("x, 0:59 left" + begin));
  CHECK(left(0.25, 20).ends_with("x, 1:00 left" + begin));
  CHECK(left(0.01, 37.6).ends_with("x, 1:02:02 left" + begin));
}

TEST_CASE("a terminal that cannot overwrite a line shows no progress") {
  CHECK(on_terminal(80, "dumb", [] { Progress().stage("loading"); }).empty());
  CHECK(on_terminal(80, "xterm", [] { Progress().stage("loading"); }) == begin + "loading ..." + begin);
}
