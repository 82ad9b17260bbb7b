// A user of everything: what it includes needs each of the packages.
#include "janusflow/core/tensor.hpp"
#include "janusflow/io/json.hpp"
#include "janusflow/text/pre_tokenizer.hpp"

int main() {
  const janusflow::Tensor<float, 1> x(janusflow::Shape{4}, 0.25f);
  const janusflow::Json settings = janusflow::parse_json("{\"steps\": 30}", "settings");
  return x(3) == 0.25f && settings["steps"] == 30 ? 0 : 1;
}
