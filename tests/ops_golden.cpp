// Operations against PyTorch, transformers and diffusers (tests/reference/make_ops.py).
#include <filesystem>
#include <string>

#include "janusflow/io/latents.hpp"
#include "janusflow/io/safetensors.hpp"
#include "janusflow/ops/depthwise_conv2d.hpp"
#include "janusflow/ops/elementwise.hpp"
#include "janusflow/ops/global_response_norm.hpp"
#include "janusflow/ops/group_norm.hpp"
#include "janusflow/ops/modulate.hpp"
#include "janusflow/ops/norms.hpp"
#include "janusflow/ops/pixel_shuffle.hpp"
#include "janusflow/ops/rope.hpp"
#include "janusflow/ops/sequence.hpp"
#include "janusflow/ops/softmax.hpp"
#include "janusflow/ops/timestep_embedding.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;

namespace {
const jf::SafetensorsFile& goldens() {
  static const jf::SafetensorsFile file(std::filesystem::path(JANUSFLOW_TEST_DATA) / "ops" / "ops.safetensors");
  return file;
}

template <int R, class T = float>
Tensor<T, R> read(const std::string& key) {
  const jf::RawTensor& raw = goldens().at(key);
  Shape<R> shape;
  REQUIRE(raw.shape.size() == R);
  for (int d = 0; d < R; ++d) shape[d] = raw.shape[static_cast<std::size_t>(d)];
  Tensor<T, R> x(shape);
  raw.copy_to(x.data());
  return x;
}

Tensor<float, 4> read_picture(const std::string& key) { return jf::channels_last(read<4>(key)); }
Tensor<float, 1> read_vector(const std::string& key) {
  const jf::RawTensor& raw = goldens().at(key);
  Tensor<float, 1> x(Shape{raw.size()});
  raw.copy_to(x.data());
  return x;
}

/// The largest absolute difference, relative to the largest expected magnitude: the ops have error bounds of their own
/// (their tests against double); here a wrong formula, order or layout is to be found.
template <int R>
double difference(const Tensor<float, R>& y, const Tensor<float, R>& expected) {
  REQUIRE(y.shape() == expected.shape());
  double worst = 0, largest = 0;
  for (Index i = 0; i < y.size(); ++i) {
    worst = std::max(worst, std::abs(double{y.data()[i]} - double{expected.data()[i]}));
    largest = std::max(largest, std::abs(double{expected.data()[i]}));
  }
  return worst / largest;
}
constexpr double few_roundings = 16 * eps32;
}  // namespace

TEST_CASE("torch: activations and softmax") {
  CHECK(difference(jf::gelu(read<1>("gelu.x")), read<1>("gelu.y")) <= few_roundings);
  CHECK(difference(jf::silu(read<1>("silu.x")), read<1>("silu.y")) <= few_roundings);
  CHECK(difference(jf::swiglu(read<2>("swiglu.x"), read<2>("swiglu.up")), read<2>("swiglu.y")) <= few_roundings);
  // Row 2 spans 300: the rounding of max - x counts (softmax's contract).
  CHECK(difference(jf::softmax(read<2>("softmax.x")), read<2>("softmax.y")) <= few_roundings);
}

TEST_CASE("torch: normalisations") {
  CHECK(difference(jf::rms_norm(read<3>("rms_norm.x"), read_vector("rms_norm.w"), 1e-6f), read<3>("rms_norm.y")) <=
        few_roundings);
  CHECK(difference(
            jf::layer_norm(read<3>("layer_norm.x"), read_vector("layer_norm.w"), read_vector("layer_norm.b"), 1e-6f),
            read<3>("layer_norm.y")) <= few_roundings);
  for (const auto& [name, groups] : {std::pair{"group_norm", 3}, std::pair{"group_norm_32", 32}}) {
    const std::string key = name;
    const auto y =
        jf::group_norm(read_picture(key + ".x"), read_vector(key + ".w"), read_vector(key + ".b"), groups, 1e-6f);
    CHECK(difference(y, read_picture(key + ".y")) <= few_roundings);
  }
  CHECK(difference(jf::global_response_norm(read<4>("grn.x"), read_vector("grn.w"), read_vector("grn.b")),
                   read<4>("grn.y")) <= few_roundings);
}

TEST_CASE("torch: depthwise convolution") {
  for (const std::string name : {"depthwise7x7", "depthwise7x7_small"}) {
    const jf::DepthwiseFilter<float> weight(read<4>(name + ".w"));
    const auto y = jf::depthwise_conv2d(read_picture(name + ".x"), weight, read_vector(name + ".b"));
    CHECK(difference(y, read_picture(name + ".y")) <= few_roundings);
  }
}

TEST_CASE("torch: modulate and pixels") {
  CHECK(difference(jf::modulate(read_picture("modulate.x"),
                                jf::concat_channels(read<2>("modulate.scale"), read<2>("modulate.shift"))),
                   read_picture("modulate.y")) <= few_roundings);
  CHECK(same_bytes(jf::pixel_shuffle(read_picture("pixel_shuffle.x"), 2), read_picture("pixel_shuffle.y")));
  CHECK(same_bytes(jf::pixel_unshuffle(read_picture("pixel_unshuffle.x"), 2), read_picture("pixel_unshuffle.y")));
  CHECK(same_bytes(jf::upsample_nearest2x(read_picture("nearest_upsample.x")), read_picture("nearest_upsample.y")));
}

TEST_CASE("transformers: rope") {
  for (const std::string name : {"rope", "rope_far"}) {
    const auto x = read<4>(name + ".x"), expected = read<4>(name + ".y");  // [B, heads, T, head_dim]
    const auto positions = read<2, Index>(name + ".position");
    const Shape<4> s = x.shape();
    const Index last = *std::max_element(positions.begin(), positions.end());
    const jf::Rotation rotation({positions.begin(), positions.end()}, s[3], read_vector(name + ".theta").data()[0]);
    // An ulp of the frequency is worth position * 2^-23 of angle at the fastest of the rounded ones, below 1/2.
    const double bound = few_roundings + static_cast<double>(last) * 2 * eps32 / 2;
    const auto by_heads = [&](auto&& f) {  // f(the element of [B, T, heads * head_dim], that of [B, heads, T, head_dim])
      for (Index b = 0; b < s[0]; ++b)
        for (Index t = 0; t < s[2]; ++t)
          for (Index h = 0; h < s[1]; ++h)
            for (Index i = 0; i < s[3]; ++i) f(((b * s[2] + t) * s[1] + h) * s[3] + i, ((b * s[1] + h) * s[2] + t) * s[3] + i);
    };
    Tensor<float, 3> tokens(Shape{s[0], s[2], s[1] * s[3]});
    by_heads([&](Index token, Index head) { tokens.data()[token] = x.data()[head]; });
    const auto y = jf::rope(std::move(tokens), rotation);
    double worst = 0;
    by_heads([&](Index token, Index head) { worst = std::max(worst, std::abs(double{y.data()[token]} - double{expected.data()[head]})); });
    CHECK(worst <= bound * 4);  // values are below 4
  }
}

TEST_CASE("diffusers: timestep embedding") {
  for (const Index dim : {32, 768}) {
    const std::string name = "timestep_" + std::to_string(dim);
    const auto times = read<1>(name + ".x");
    const std::vector<float> list(times.begin(), times.end());
    // An ulp of a frequency below 1 at t < 1000, and the ulp of the angle itself: 1000 * 2^-24 each.
    CHECK(difference(jf::timestep_embedding(list, dim), read<2>(name + ".y")) <= 2 * 1000 * eps32);
  }
}
