// A user of the ground floors alone, without nlohmann_json, PCRE2 and stb.
#include "janusflow/core/tensor.hpp"
#include "janusflow/flow/integrate.hpp"
#include "janusflow/ops/linear.hpp"

int main() {
  const janusflow::Tensor<float, 1> x(janusflow::Shape{4}, 0.25f);
  return x(3) == 0.25f ? 0 : 1;
}
