// The one exception of the library, and how its sentences are put together.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace janusflow {

/// Everything the library throws. what() is one sentence that names the operation, and the shapes, the
/// parameter's key or the path concerned: fit to be printed to a person as it stands.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The arguments written one after another, as operator<< prints them.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

/// Throws Error with the concatenated parts as its sentence.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concat(parts...));
}

/// Throws Error with the concatenated parts unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

}  // namespace janusflow
