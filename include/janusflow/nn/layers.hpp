// The layers that every model here is made of: parameters, and the free function that they call.
#pragma once

#include <type_traits>
#include <utility>

#include "janusflow/nn/parameters.hpp"
#include "janusflow/nn/visit.hpp"
#include "janusflow/ops/elementwise.hpp"
#include "janusflow/ops/global_response_norm.hpp"
#include "janusflow/ops/group_norm.hpp"
#include "janusflow/ops/norms.hpp"
#include "janusflow/ops/sequence.hpp"

namespace janusflow {

/// block(x, more...), one of the blocks that a model is a row of. (A tape has its own reading, which may forget the inside.)
template <class Block, class X, class... More>
  requires TensorLike<std::remove_cvref_t<X>>
auto run_block(const Block& block, X&& x, const More&... more) {
  return block(std::forward<X>(x), more...);
}

/// Whether a layer has an additive term.
enum class Bias { none, present };

/// y [..., out] = x [..., in] . weightT + bias.
template <class P>
struct Linear {
  typename P::Matrix weight;               // [out, in]
  typename P::template Array<1> bias = {};  // [out], or empty

  Linear() = default;
  Linear(Index in, Index out, Bias with = Bias::present) : weight(out, in) {
    if (with == Bias::present) bias = typename P::template Array<1>(Shape{out});
  }

  /// `after` is what follows: Gelu{}, Silu{}, Add{residual}.
  template <class X, class After = Identity>
  auto operator()(const X& x, After after = {}) const {
    return linear(x, weight, bias, after);
  }
  /// The same for another Linear<P> to read, and nobody else.
  template <class X, class After = Identity>
  auto for_linear(const X& x, After after = {}) const {
    return linear_for<typename P::Matrix>(x, weight, bias, after);
  }
  /// The same for attention to read, as it rounds.
  template <class X>
  auto for_attention(const X& x) const {
    return rounded_linear<typename P::Dot::Value>(x, weight, bias);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("weight", self.weight);
    if (!self.bias.empty()) walk("bias", self.bias);
  }
};

/// conv2d on channels-last pictures.
template <class P>
struct Conv2d {
  typename P::Filter weight;               // [out, in, kernel, kernel]
  typename P::template Array<1> bias = {};  // [out], or empty
  ConvGeometry geometry;

  Conv2d() = default;
  Conv2d(Index in, Index out, Index kernel, ConvGeometry geometry, Bias with = Bias::present)
      : weight(out, in, kernel), geometry(geometry) {
    if (with == Bias::present) bias = typename P::template Array<1>(Shape{out});
  }
  /// Stride 1, padded so that the picture keeps its size.
  static Conv2d same(Index in, Index out, Index kernel) { return {in, out, kernel, ConvGeometry::same(kernel)}; }

  template <class X, class After = Identity>
  auto operator()(const X& x, After after = {}) const {
    return conv2d(x, weight, bias, geometry, after);
  }
  /// y + conv(x), in y's memory where that is possible.
  template <class Y, class X>
  auto onto(Y&& y, const X& x) const {
    return conv2d_onto(std::forward<Y>(y), x, weight, bias, geometry);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("weight", self.weight);
    if (!self.bias.empty()) walk("bias", self.bias);
  }
};

/// A doubled picture (every pixel four times), then a 3x3 convolution of stride 1.
template <class P>
struct UpsampleConv2d {
  typename P::Upsampling weight;       // [out, in, 3, 3]
  typename P::template Array<1> bias;  // [out]

  UpsampleConv2d() = default;
  UpsampleConv2d(Index in, Index out) : weight(out, in, 3), bias(Shape{out}) {}

  template <class X>
  auto operator()(const X& x) const {
    return upsample_conv2d(x, weight, bias);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("weight", self.weight);
    walk("bias", self.bias);
  }
};

/// One odd-sized filter a channel, padded so that the picture keeps its size.
template <class P>
struct DepthwiseConv2d {
  typename P::Depthwise weight;        // [C, 1, kernel, kernel]
  typename P::template Array<1> bias;  // [C]; zero where the checkpoint has none
  Bias stored_bias = Bias::present;

  DepthwiseConv2d() = default;
  DepthwiseConv2d(Index channels, Index kernel, Bias with = Bias::present)
      : weight(channels, kernel), bias(Shape{channels}, 0.0f), stored_bias(with) {}

  template <class X>
  auto operator()(const X& x) const {
    return depthwise_conv2d(x, weight, bias);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("weight", self.weight);
    if (self.stored_bias == Bias::present) walk("bias", self.bias);
  }
};

/// x / rms(x) * weight over the last dimension.
template <class P>
struct RmsNorm {
  typename P::template Array<1> weight;  // [C]
  float eps = 1e-6f;

  RmsNorm() = default;
  RmsNorm(Index channels, float eps) : weight(Shape{channels}), eps(eps) {}

  template <class X>
  auto operator()(const X& x) const {
    return rms_norm(x, weight, eps);
  }
  /// The same for Linear<P>s to read, and nobody else.
  template <class X>
  auto for_linear(const X& x) const {
    return rms_norm_for<typename P::Matrix>(x, weight, eps);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("weight", self.weight);
  }
};

/// (x - mean) / std * weight + bias over the last dimension.
template <class P>
struct LayerNorm {
  typename P::template Array<1> weight, bias;  // [C]
  float eps = 1e-6f;

  LayerNorm() = default;
  LayerNorm(Index channels, float eps) : weight(Shape{channels}), bias(Shape{channels}), eps(eps) {}

  template <class X>
  auto operator()(const X& x) const {
    return layer_norm(x, weight, bias, eps);
  }
  /// The same for Linear<P>s to read, and nobody else.
  template <class X>
  auto for_linear(const X& x) const {
    return layer_norm_for<typename P::Matrix>(x, weight, bias, eps);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("weight", self.weight);
    walk("bias", self.bias);
  }
};

/// Normalisation over groups of channels and all pixels of a picture.
template <class P>
struct GroupNorm {
  typename P::template Array<1> weight, bias;  // [C]
  Index groups = 32;
  float eps = 1e-6f;

  GroupNorm() = default;
  GroupNorm(Index channels, Index groups, float eps)
      : weight(Shape{channels}), bias(Shape{channels}), groups(groups), eps(eps) {}

  template <class X>
  auto operator()(const X& x) const {
    return group_norm(x, weight, bias, groups, eps);
  }
  /// silu of the normalised picture, for a convolution to read.
  template <class X>
  auto then_silu(X&& x) const {
    return silu_of_group_norm(std::forward<X>(x), weight, bias, groups, eps);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("weight", self.weight);
    walk("bias", self.bias);
  }
};

/// Global response normalisation (ConvNeXt V2, arXiv 2301.00808, eq. 3).
template <class P>
struct GlobalResponseNorm {
  typename P::template Array<4> weight, bias;  // [1, 1, 1, C]

  GlobalResponseNorm() = default;
  explicit GlobalResponseNorm(Index channels)
      : weight(Shape{Index{1}, Index{1}, Index{1}, channels}), bias(Shape{Index{1}, Index{1}, Index{1}, channels}) {}

  template <class X>
  auto operator()(const X& x) const {
    const Shape channels{weight.shape().last()};
    return global_response_norm(x, reshape(weight, channels), reshape(bias, channels));
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("weight", self.weight);
    walk("bias", self.bias);
  }
};

}  // namespace janusflow
