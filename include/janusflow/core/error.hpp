// The one exception of the library, and how its sentences are put together. What the compiler must refuse is refused here too.
#pragma once

#include <cstddef>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#if __FINITE_MATH_ONLY__ || defined(__ASSOCIATIVE_MATH__)
#error "janusflow: compile without -ffast-math, -Ofast and the like: silu(-1000) becomes NaN, and equal bytes rest on the order of sums"
#endif

namespace janusflow {

/// Everything the library throws. what() is one sentence that names the operation, and the shapes, the
/// parameter's key or the path concerned: fit to be printed to a person as it stands.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

/// One part of a sentence: a value, and how to print its type. Sentences are joined behind this, by one function for all of them:
/// the hundreds of checks of the library then cost a few instructions each, and little to compile.
struct Part {
  const void* value;
  void (*print)(std::ostream&, const void*);

  template <class T>
  static Part of(const T& value) {
    if constexpr (std::is_array_v<T>) {  // a literal of any length
      return {value, [](std::ostream& out, const void* text) { out << static_cast<const char*>(text); }};
    } else {
      return {&value, [](std::ostream& out, const void* it) { out << *static_cast<const T*>(it); }};
    }
  }
};

#if defined(__GNUC__)
[[gnu::noinline, gnu::cold]]
#endif
inline std::string join(const Part* parts, std::size_t count) {
  std::ostringstream out;
  out.imbue(std::locale::classic());  // whatever the program's own: 1000003, not 1.000.003
  for (std::size_t i = 0; i < count; ++i) parts[i].print(out, parts[i].value);
  return std::move(out).str();
}

#if defined(__GNUC__)
[[gnu::noinline, gnu::cold]]
#endif
[[noreturn]] inline void throw_joined(const Part* parts, std::size_t count) {
  std::string sentence = join(parts, count);
  for (char& c : sentence)
    if (c == '\0') c = ' ';  // a name in a file may have one, and what() would end there
  throw Error(sentence);
}

}  // namespace detail

/// The arguments written one after another, as operator<< prints them in the "C" locale.
template <class... Parts>
std::string concat(const Parts&... parts) {
  const detail::Part list[] = {detail::Part::of(parts)...};
  return detail::join(list, sizeof...(Parts));
}

/// Throws Error with the concatenated parts as its sentence.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  const detail::Part list[] = {detail::Part::of(parts)...};
  detail::throw_joined(list, sizeof...(Parts));
}

/// Throws Error with the concatenated parts unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

}  // namespace janusflow
