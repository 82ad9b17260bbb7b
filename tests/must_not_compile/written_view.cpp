// Must say: const|read-only
// A view of numbers that may not change does not let them be written.
#include "janusflow/core/tensor.hpp"

void overwrite(const janusflow::Tensor<float, 2>& x) {
#ifdef MISTAKE
  x.view()(0, 0) = 1.0f;
#else
  janusflow::Tensor<float, 2> copy = x.clone();
  copy(0, 0) = 1.0f;
#endif
}
