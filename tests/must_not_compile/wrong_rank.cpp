// Must say: no match for call|no matching function
// A tensor takes one index for each of its dimensions.
#include "janusflow/core/tensor.hpp"

float corner(janusflow::TensorView<const float, 3> x) {
#ifdef MISTAKE
  return x(0, 0);
#else
  return x(0, 0, 0);
#endif
}
