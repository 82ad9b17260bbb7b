// Must say: without -ffast-math
// Infinities and NaN are answers here. What -ffast-math tells of itself is this macro.
#ifdef MISTAKE
#undef __FINITE_MATH_ONLY__
#define __FINITE_MATH_ONLY__ 1
#endif
#include "janusflow/core/error.hpp"
