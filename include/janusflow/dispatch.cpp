// The main of a program that carries its code several times, once for each of several instruction sets (janusflow_dispatch in
// targets.cmake, which compiles this file for any processor): the last of them that this processor has is what runs.
#include <unistd.h>

#include <cstring>

// JANUSFLOW_LEVELS is X(level) for each, the most basic first. Of a level's code only these three are seen from outside.
#define X(level)                                                                                         \
  extern "C" const char* janusflow_missing_##level() noexcept;                                           \
  extern "C" int janusflow_main_##level(int, char**, char**);                                            \
  extern "C" void (*__start_janusflow_init_##level[])(int, char**, char**);                              \
  extern "C" void (*__stop_janusflow_init_##level[])(int, char**, char**);
JANUSFLOW_LEVELS
#undef X

namespace {

using Initializer = void (*)(int, char**, char**);
struct Level {
  const char* (*missing)() noexcept;
  int (*main)(int, char**, char**);
  Initializer *first, *last;  // the constructors of its globals, which must not run where its instructions do not
};
#define X(level) {janusflow_missing_##level, janusflow_main_##level, __start_janusflow_init_##level, __stop_janusflow_init_##level},
constexpr Level levels[] = {JANUSFLOW_LEVELS};
#undef X

void say(const char* text) { [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text)); }

}  // namespace

int main(int count, char** arguments, char** environment) {
  const Level* best = nullptr;
  for (const Level& level : levels)
    if (!level.missing()) best = &level;
  if (!best) {
    say("this program needs ");
    say(levels[0].missing());
    say(", which this processor does not have; rebuild it with a more basic level in JANUSFLOW_DISPATCH\n");
    return 1;
  }
  for (Initializer* initialize = best->first; initialize != best->last; ++initialize) (*initialize)(count, arguments, environment);
  return best->main(count, arguments, environment);
}
