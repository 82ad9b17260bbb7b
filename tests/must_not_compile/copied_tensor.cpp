// Must say: copy|deleted
// Tensors move; a silent copy of a weight or an activation is a mistake.
#include "janusflow/core/tensor.hpp"

void hand_over(janusflow::Tensor<float, 2>& from) {
#ifdef MISTAKE
  const janusflow::Tensor<float, 2> to = from;
#else
  const janusflow::Tensor<float, 2> to = from.clone();
#endif
  (void)to;
}
