// Reading golden tensors in torch's layout and comparing with them.
#pragma once

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "janusflow/io/checkpoint.hpp"
#include "janusflow/io/json.hpp"
#include "janusflow/io/latents.hpp"

namespace janusflow::test {

/// The golden tensors of one safetensors file.
class Golden {
 public:
  explicit Golden(const std::string& path) : file_(path) {}

  /// As stored; a rank of 0 reads one number.
  template <int R>
  auto tensor(const std::string& key) const {
    if constexpr (R == 0) return file_.at(key).to_tensor<float>(Shape{Index{1}}, Ones::ignored);
    else return file_.at(key).to_tensor<float, R>();
  }
  /// Stored as [B, C, H, W], returned as [B, H, W, C].
  Tensor<float, 4> picture(const std::string& key) const {
    return channels_last(tensor<4>(key));
  }
  std::vector<std::int64_t> integers(const std::string& key) const {
    const RawTensor& raw = file_.at(key);
    std::vector<std::int64_t> values(static_cast<std::size_t>(raw.size()));
    raw.copy_to(values.data());
    return values;
  }
  /// A whole number of golden.json's "scalars".
  Index scalar(const std::string& name) const {
    const Json json = read_json_file(file_.path().parent_path() / "golden.json");
    return json.at("scalars").at(name).get<Index>();
  }

 private:
  Checkpoint file_;
};

/// Largest absolute difference relative to the largest absolute value expected; infinite where the sizes differ or a value is NaN.
/// Shapes need not agree: a patch grid [B, H, W, C] and its tokens [B, HW, C] hold the same numbers in the same order.
template <TensorLike A, TensorLike B>
double relative_error(const A& actual, const B& expected) {
  const auto a = actual.view();
  const auto e = expected.view();
  if (a.size() != e.size() || a.shape.last() != e.shape.last()) return std::numeric_limits<double>::infinity();
  double error = 0, largest = 0;
  for (Index i = 0; i < a.rows(); ++i)
    for (Index c = 0; c < a.shape.last(); ++c) {
      const double difference = std::abs(static_cast<double>(a.row(i)[c]) - static_cast<double>(e.row(i)[c]));
      if (!(difference <= std::numeric_limits<double>::max())) return std::numeric_limits<double>::infinity();
      error = std::max(error, difference);
      largest = std::max(largest, std::abs(static_cast<double>(e.row(i)[c])));
    }
  return largest > 0 ? error / largest : error;
}

}  // namespace janusflow::test
