// Tensors and views.
#include "janusflow/core/tensor.hpp"

#include <doctest/doctest.h>

TEST_CASE("a tensor knows its shape") {
  const janusflow::Tensor<float, 2> x(janusflow::Shape<2>{{2, 3}}, 1.5f);
  CHECK(x.size() == 6);
  CHECK(x(1, 2) == 1.5f);
}
