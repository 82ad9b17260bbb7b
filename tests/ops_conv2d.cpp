// conv2d against double and against PyTorch: kernels, strides, paddings, and channels around the vector's width.
#include "janusflow/ops/conv2d.hpp"

#include "golden.hpp"
#include "janusflow/ops/elementwise.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;
using jf::ConvGeometry;
using jf::simd::BFloat16Dot;
using jf::simd::Float32Dot;

namespace {

template <class Dot>
jf::PackedFilter<Dot> packed(const Tensor<float, 4>& w) {
  jf::PackedFilter<Dot> filter(w.shape()[0], w.shape()[1], w.shape()[2]);
  filter.pack(w.view());
  return filter;
}

template <int R>
Tensor<double, R> absolute(const Tensor<float, R>& x) {
  auto y = cast<double>(x);
  for (double& v : y) v = std::abs(v);
  return y;
}

/// Checks y against the definition in double: linear's bound with in * kernel^2 terms. The inputs are those that are multiplied.
template <class Y>
void check_against_double(const Y& y, const Tensor<float, 4>& x, const Tensor<float, 4>& w, const Tensor<float, 1>& bias,
                          ConvGeometry geometry) {
  const auto exact = jf::reference::conv2d(cast<double>(x), cast<double>(w), cast<double>(bias), geometry);
  const auto size = jf::reference::conv2d(absolute(x), absolute(w), absolute(bias), geometry);
  const auto terms = static_cast<double>(w.size() / w.shape()[0] + 2);  // one more where bfloat16's last word is half empty
  CHECK(worst_ratio(y, exact, [&](Index i) { return terms * eps32 * size.data()[i]; }) <= 1);
}

struct Kind {
  Index kernel;
  ConvGeometry geometry;
};
const std::vector<Kind> kinds{{1, {}},
                              {3, ConvGeometry::same(3)},
                              {3, {.stride = 2, .bottom = 1, .right = 1}},   // the autoencoder's halving
                              {2, {.stride = 2}},                            // patchify
                              {2, {.top = 1, .right = 1}},                   // a phase behind a doubling
                              {4, {.stride = 2, .top = 2, .left = 2, .bottom = 2, .right = 2}},
                              {5, {.stride = 3, .top = 1, .left = 2, .bottom = 3, .right = 0}}};

}  // namespace

TEST_CASE("conv2d: float32 against double") {
  for (const Kind& kind : kinds)
    for (const Index in : {1, 3, 16, 17})
      for (const Index out : {1, 15, 33}) {
        const Index kernel = kind.kernel;
        const ConvGeometry geometry = kind.geometry;
        CAPTURE(kernel);
        CAPTURE(in);
        CAPTURE(out);
        const auto x = random_tensor<float>(Shape{Index{2}, Index{6}, Index{9}, in}, 1);
        const auto w = random_tensor<float>(Shape{out, in, kernel, kernel}, 2);
        const auto bias = random_tensor<float>(Shape{out}, 3);
        check_against_double(jf::conv2d(x, packed<Float32Dot>(w), bias, geometry), x, w, bias, geometry);
      }
}

TEST_CASE_TEMPLATE("conv2d: lines of any number of tiles", Dot, Float32Dot, BFloat16Dot) {
  for (const Kind& kind : {kinds[0], kinds[1], kinds[2], kinds[5]})
    for (const Index width : {5, 7, 13, 14, 15, 29, 45, 50}) {
      CAPTURE(width);
      auto x = random_tensor<float>(Shape{Index{2}, Index{5}, width, Index{18}}, 1);
      auto w = random_tensor<float>(Shape{Index{35}, Index{18}, kind.kernel, kind.kernel}, 2);
      const auto bias = random_tensor<float>(Shape{Index{35}}, 3);
      if (std::is_same_v<Dot, BFloat16Dot>)
        for (auto* t : {&x, &w})
          for (float& v : *t) v = jf::bfloat16(v);
      check_against_double(jf::conv2d(x, packed<Dot>(w), bias, kind.geometry), x, w, bias, kind.geometry);
    }
}

/// silu(group_norm(x)) in two groups, written: its silu is that of what a convolution with Dot rounds it to.
template <class Dot>
Tensor<float, 4> normalised(const Tensor<float, 4>& x, const Tensor<float, 1>& weight, const Tensor<float, 1>& shift) {
  auto y = jf::group_norm(x, weight, shift, 2, 1e-6f);
  jf::simd::map(y.size(), y.data(), [](jf::simd::Batch v) { return jf::simd::silu<typename Dot::Value>(v); }, y.data());
  return y;
}

TEST_CASE_TEMPLATE("conv2d: a normalised picture that is read gives the bytes of one that was written", Dot, Float32Dot, BFloat16Dot) {
  for (const Index kernel : {2, 3})
    for (const Index channels : {4, 12, 34, 32}) {
      CAPTURE(kernel);
      CAPTURE(channels);
      const Index width = channels == 32 ? 37 : 5, out = channels == 32 ? 40 : 18;  // the last by squares
      const auto x = random_tensor<float>(Shape{Index{2}, Index{7}, width, channels}, 1);
      const auto w = random_tensor<float>(Shape{out, channels, kernel, kernel}, 2);
      const auto bias = random_tensor<float>(Shape{out}, 3), weight = random_tensor<float>(Shape{channels}, 4),
                 shift = random_tensor<float>(Shape{channels}, 5);
      const auto filter = packed<Dot>(w);
      const auto same = ConvGeometry::same(kernel);
      const auto written = jf::conv2d(normalised<Dot>(x, weight, shift), filter, bias, same);
      const auto read = jf::conv2d(jf::silu_of_group_norm(x, weight, shift, 2, 1e-6f), filter, bias, same);
      CHECK(std::equal(read.begin(), read.end(), written.begin()));
      const auto given = jf::conv2d(jf::silu_of_group_norm(x.clone(), weight, shift, 2, 1e-6f), filter, bias, same);
      CHECK(std::equal(given.begin(), given.end(), written.begin()));
      CHECK_THROWS_AS(jf::silu_of_group_norm(x, weight, shift, 5, 1e-6f), jf::Error);
    }
}

TEST_CASE_TEMPLATE("conv2d: a picture too large for one strip gives the bytes of one picture line by line", Dot, Float32Dot, BFloat16Dot) {
  // Lines of 256 KB in float32: strips of 32 lines, of which 30 are left for a kernel of 3.
  const Index channels = 64, width = 1024;
  const auto filter = packed<Dot>(random_tensor<float>(Shape{Index{2}, channels, Index{3}, Index{3}}, 2));
  const auto weight = random_tensor<float>(Shape{channels}, 4), shift = random_tensor<float>(Shape{channels}, 5);
  const auto x = random_tensor<float>(Shape{Index{2}, Index{71}, width, channels}, 1);
  for (const ConvGeometry geometry : {ConvGeometry::same(3), ConvGeometry{.stride = 2, .bottom = 1, .right = 1}}) {
    const auto y = jf::conv2d(jf::silu_of_group_norm(x, weight, shift, 2, 1e-6f), filter, {}, geometry);
    const auto written = normalised<Dot>(x, weight, shift);
    const auto rows = y.size() / 2 / y.shape()[1];
    for (Index b = 0; b < 2; ++b)
      for (Index row = 0; row < y.shape()[1]; ++row) {
        // The lines under the kernel alone, as a picture of their own.
        const Index first = row * geometry.stride - geometry.top, begin = std::max<Index>(0, first), end = std::min<Index>(71, first + 3);
        Tensor<float, 4> lines(Shape{Index{1}, end - begin, width, channels});
        std::copy_n(&written(b, begin, 0, 0), lines.size(), lines.data());
        ConvGeometry own = geometry;
        own.top = begin - first;
        own.bottom = first + 3 - end;
        const auto one = jf::conv2d(lines, filter, {}, own);
        REQUIRE(std::equal(one.begin(), one.end(), &y(b, row, 0, 0)));
        CHECK(one.size() == rows);
      }
  }
}

TEST_CASE("conv2d: onto a picture is the sum, in its memory") {
  const auto x = random_tensor<float>(Shape{Index{1}, Index{7}, Index{5}, Index{12}}, 1);
  const auto filter = packed<Float32Dot>(random_tensor<float>(Shape{Index{18}, Index{12}, Index{3}, Index{3}}, 2));
  const auto bias = random_tensor<float>(Shape{Index{18}}, 3), ones = random_tensor<float>(Shape{Index{12}}, 4);
  auto y = random_tensor<float>(Shape{Index{1}, Index{7}, Index{5}, Index{18}}, 6);
  const auto sum = jf::conv2d(jf::silu_of_group_norm(x, ones, ones, 2, 1e-6f), filter, bias, ConvGeometry::same(3), jf::Add{y});
  const float* memory = y.data();
  const auto onto = jf::conv2d_onto(std::move(y), jf::silu_of_group_norm(x, ones, ones, 2, 1e-6f), filter, bias, ConvGeometry::same(3));
  CHECK(onto.data() == memory);
  CHECK(std::equal(onto.begin(), onto.end(), sum.begin()));
  CHECK_THROWS_AS(jf::conv2d_onto(random_tensor<float>(Shape{Index{1}, Index{7}, Index{5}, Index{17}}, 6), jf::silu_of_group_norm(x, ones, ones, 2, 1e-6f),
                                  filter, bias, ConvGeometry::same(3)),
                  jf::Error);
}

TEST_CASE("conv2d: bfloat16 is exact products of rounded numbers, summed in float32") {
  for (const auto& [kernel, geometry] : kinds)
    for (const Index in : {1, 3, 8}) {
      auto x = random_tensor<float>(Shape{Index{1}, Index{6}, Index{5}, in}, 4);
      auto w = random_tensor<float>(Shape{Index{18}, in, kernel, kernel}, 5);
      const auto bias = random_tensor<float>(Shape{Index{18}}, 6);
      const auto y = jf::conv2d(x, packed<BFloat16Dot>(w), bias, geometry);
      for (float& v : x) v = jf::bfloat16(v);
      for (float& v : w) v = jf::bfloat16(v);
      check_against_double(y, x, w, bias, geometry);
    }
}

TEST_CASE_TEMPLATE("conv2d: a picture alone, strided pixels, any number of threads: the same bytes", Dot, Float32Dot, BFloat16Dot) {
  for (std::size_t i = 0; i < 2 * kinds.size(); ++i) {
    const Kind& kind = kinds[i / 2];
    const Index kernel = kind.kernel;
    const ConvGeometry geometry = kind.geometry;
    const bool squares = i % 2 == 1;  // as many channels and pixels of a line as Winograd's way needs
    const Index in = squares ? 32 : 6, out = squares ? 40 : 19;
    const auto x = random_tensor<float>(Shape{Index{3}, Index{23}, Index{squares ? 37 : 17}, in}, 7);  // several blocks of pixels
    const auto w = packed<Dot>(random_tensor<float>(Shape{out, in, kernel, kernel}, 8));
    const auto bias = random_tensor<float>(Shape{out}, 9);
    const auto y = jf::conv2d(x, w, bias, geometry);
    const TensorView<const float, 4> pictures = x, results = y;
    CHECK(same_bytes(jf::conv2d(pictures.slice(1, 2), w, bias, geometry), Tensor<float, 4>(results.slice(1, 2))));
    const Strided<float, 4> strided(x);
    CHECK(same_bytes(jf::conv2d(strided.columns, w, bias, geometry), y));
    check_threads([&] { return jf::conv2d(x, w, bias, geometry); });
    CHECK(same_bytes(jf::conv2d(x, w, bias, geometry, jf::Silu{}), jf::silu(y)));
    const auto residual = random_tensor<float>(y.shape(), 10);
    CHECK(same_bytes(jf::conv2d(x, w, bias, geometry, jf::Add{residual}), y + residual));
    CHECK(same_bytes(jf::conv2d(x, w, Tensor<float, 1>(Shape{out}, 0.0f), geometry), jf::conv2d(x, w, {}, geometry)));
  }
}

TEST_CASE("conv2d: 1x1 is linear") {
  const auto x = random_tensor<float>(Shape{Index{2}, Index{5}, Index{4}, Index{21}}, 11);
  const auto w = random_tensor<float>(Shape{Index{9}, Index{21}, Index{1}, Index{1}}, 12);
  const auto bias = random_tensor<float>(Shape{Index{9}}, 13);
  jf::PackedMatrix<Float32Dot> matrix(9, 21);
  matrix.pack(w.view().reshape(Shape{Index{9}, Index{21}}));
  CHECK(same_bytes(jf::conv2d(x, packed<Float32Dot>(w), bias, {}), jf::linear(x, matrix, bias)));
}

TEST_CASE("torch: conv2d") {
  const janusflow::test::Golden golden(JANUSFLOW_TEST_DATA "/ops/ops.safetensors");
  const ConvGeometry halving{.stride = 2, .bottom = 1, .right = 1};
  const std::vector<std::pair<std::string, ConvGeometry>> cases{
      {"conv1x1", {}},         {"conv3x3", ConvGeometry::same(3)},      {"conv3x3_one_pixel", ConvGeometry::same(3)},
      {"conv3x3_stride2", halving}, {"conv3x3_stride2_odd", halving}, {"conv2x2_stride2", {.stride = 2}},
      {"conv16x16_stride16", {.stride = 16}}};
  for (const auto& one : cases) {
    const std::string name = one.first;
    const ConvGeometry geometry = one.second;
    CAPTURE(name);
    const auto x = golden.picture(name + ".x"), expected = golden.picture(name + ".y");
    const auto w = golden.tensor<4>(name + ".w");
    const auto bias = golden.tensor<1>(name + ".b");
    const auto y = jf::conv2d(x, packed<Float32Dot>(w), bias, geometry);
    REQUIRE(y.shape() == expected.shape());
    const auto size = jf::reference::conv2d(absolute(x), absolute(w), absolute(bias), geometry);
    const auto terms = static_cast<double>(w.size() / w.shape()[0] + 2);  // with torch's last rounding
    CHECK(worst_ratio(y, cast<double>(expected), [&](Index i) { return terms * eps32 * size.data()[i]; }) <= 1);
  }
}

TEST_CASE("conv2d: what does not fit is refused in one sentence") {
  const auto x = random_tensor<float>(Shape{Index{1}, Index{2}, Index{5}, Index{3}}, 14);
  const auto filter = random_tensor<float>(Shape{Index{4}, Index{3}, Index{3}, Index{3}}, 15);
  const auto w = packed<Float32Dot>(filter);
  const std::string sentence = "conv2d: x [1, 2, 5, 3] does not match weight [4, 3, 3, 3]";
  CHECK(message_of([&] { jf::conv2d(x, w, {}, {}); }) == sentence);  // no room for a kernel
  const Tensor<float, 4> narrow(Shape{Index{1}, Index{5}, Index{2}, Index{3}}, 0.0f);
  CHECK(message_of([&] { jf::conv2d(narrow, w, {}, {}); }) == "conv2d: x [1, 5, 2, 3] does not match weight [4, 3, 3, 3]");
  CHECK(message_of([&] { jf::conv2d(x, w, {}, {.stride = 0, .top = 1}); }) == "conv2d: a stride of 0 pixels");
  CHECK(message_of([&] { jf::conv2d(x, w, {}, {.top = 2, .left = -3}); }) == "conv2d: a padding of -3 pixels");
  CHECK(message_of([&] { jf::conv2d(x, jf::PackedFilter<Float32Dot>(4, 3, 3), {}, ConvGeometry::same(3)); }) ==
        "conv2d: the weight [4, 3, 3, 3] has no values yet");
  CHECK(message_of([&] { jf::conv2d(x.view().columns(0, 2), w, {}, ConvGeometry::same(3)); }) ==
        "conv2d: x [1, 2, 5, 2] does not match weight [4, 3, 3, 3]");
  CHECK(message_of([&] { jf::conv2d(x, w, Tensor<float, 1>(Shape{Index{3}}, 0.0f), ConvGeometry::same(3)); }) ==
        "conv2d: bias [3] does not match weight [4, 3, 3, 3]");
  const Tensor<float, 4> residual(Shape{Index{1}, Index{2}, Index{4}, Index{4}}, 0.0f);
  CHECK(message_of([&] { jf::conv2d(x, w, {}, ConvGeometry::same(3), jf::Add{residual}); }) ==
        "add: [1, 2, 4, 4] does not match the product [10, 4]");
  jf::PackedFilter<Float32Dot> other(4, 3, 2);
  CHECK(message_of([&] { other.pack(filter.view()); }) == "pack: [4, 3, 3, 3] is not the filter's [4, 3, 2, 2]");
}
