// How a thread rounds: its floating-point modes, read and set.
#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

namespace janusflow::detail {

/// The floating-point modes of the calling thread: rounding, and flushing subnormal numbers to zero.
#if defined(__SSE__)
class FloatMode {  // MXCSR alone: nothing here computes on the x87, whose environment takes far longer to read and set
 public:
  FloatMode() : bits_(_mm_getcsr() & ~exceptions) {}
  void set() const {
    if (FloatMode().bits_ != bits_) _mm_setcsr(bits_ | (_mm_getcsr() & exceptions));
  }

 private:
  static constexpr unsigned exceptions = 0x3f;  // what has happened, which is no mode
  unsigned bits_;
};
#else
class FloatMode {
 public:
  FloatMode() { std::fegetenv(&environment_); }
  void set() const { std::fesetenv(&environment_); }

 private:
  std::fenv_t environment_;
};
#endif

}  // namespace janusflow::detail
