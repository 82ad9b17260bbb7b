// ShallowUViT: the shallow encoder and decoder between latents and the language model's picture tokens.
#pragma once

#include "janusflow/io/uvit_config.hpp"
#include "janusflow/nn/layers.hpp"
#include "janusflow/ops/modulate.hpp"
#include "janusflow/ops/pixel_shuffle.hpp"
#include "janusflow/ops/sequence.hpp"
#include "janusflow/ops/timestep_embedding.hpp"

namespace janusflow {

/// ConvNeXt block with global response normalisation, modulated by the time embedding (JanusFlow, arXiv 2411.07975,
/// section 3.2; ConvNeXt V2, arXiv 2301.00808, figure 5).
template <class P>
struct ConvNeXtBlock {
  DepthwiseConv2d<P> depthwise;  // 7x7
  RmsNorm<P> norm;
  Linear<typename P::AtLeast8Bits> channelwise_linear_1;  // C -> 4C
  GlobalResponseNorm<P> channelwise_norm;
  Linear<typename P::AtLeast8Bits> channelwise_linear_2;  // 4C -> C
  Linear<typename P::Precise> cond_embeds_mapper;         // D -> 2C

  ConvNeXtBlock(Index channels, Index hidden_size, float eps, Bias bias)
      : depthwise(channels, 7, bias),
        norm(channels, eps),
        channelwise_linear_1(channels, 4 * channels, bias),
        channelwise_norm(4 * channels),
        channelwise_linear_2(4 * channels, channels, bias),
        cond_embeds_mapper(hidden_size, 2 * channels, bias) {}

  /// x [B, H, W, C], t_emb [B, D] -> [B, H, W, C]
  template <class X, class E>
  auto operator()(const X& x, const E& t_emb) const {
    auto h = norm(depthwise(x));                            // [B, H, W, C]
    h = channelwise_norm(channelwise_linear_1(h, Gelu{}));  // [B, H, W, 4C]
    h = channelwise_linear_2(h, Add{x});                    // [B, H, W, C]
    return modulate(h, cond_embeds_mapper(silu(t_emb)));    // h * (1 + scale) + shift
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("depthwise", self.depthwise);
    walk("norm", self.norm);
    walk("channelwise_linear_1", self.channelwise_linear_1);
    walk("channelwise_norm", self.channelwise_norm);
    walk("channelwise_linear_2", self.channelwise_linear_2);
    walk("cond_embeds_mapper", self.cond_embeds_mapper);
  }
};

/// ConvNeXt blocks in a row (the official UVitBlock, whose samplers JanusFlow leaves out).
template <class P>
struct ConvNeXtStage {
  std::vector<ConvNeXtBlock<P>> res_blocks;

  ConvNeXtStage(Index blocks, Index channels, Index hidden_size, float eps, Bias bias) {
    for (Index i = 0; i < blocks; ++i) res_blocks.emplace_back(channels, hidden_size, eps, bias);
  }

  /// x [B, H, W, C] -> [B, H, W, C]
  template <class X, class E>
  X operator()(X x, const E& t_emb) const {
    for (const auto& block : res_blocks) x = run_block(block, x, t_emb);
    return x;
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("res_blocks", self.res_blocks);
  }
};

/// The embedding of a time t in [0, 1000): sinusoids, then two linear layers (diffusers' Timesteps and TimestepEmbedding).
template <class P>
struct TimeEmbedding {
  Index channels;
  Linear<typename P::Precise> linear_1, linear_2;

  TimeEmbedding(Index channels, Index hidden_size, Bias bias)
      : channels(channels), linear_1(channels, hidden_size, bias), linear_2(hidden_size, hidden_size, bias) {}

  /// times, n of them, in thousandths -> [n, D]
  auto operator()(std::span<const float> times) const {
    return linear_2(linear_1(timestep_embedding(times, channels), Silu{}));
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("linear_1", self.linear_1);
    walk("linear_2", self.linear_2);
  }
};

/// The generation encoder g_enc: patchify, then ConvNeXt blocks.
template <class P>
struct ShallowUViTEncoder {
  TimeEmbedding<P> time_embed;
  Conv2d<P> in_conv;  // kernel 2, stride 2 in the published model
  ConvNeXtStage<P> mid_block;

  explicit ShallowUViTEncoder(const ShallowUViTEncoderConfig& c)
      : time_embed(c.block_out_channels.front(), c.hidden_size, c.use_bias ? Bias::present : Bias::none),
        in_conv(c.input_channels, c.block_out_channels.front(), c.kernel_size,
                {c.stride, c.padding, c.padding, c.padding, c.padding}),
        mid_block(c.use_mid_block ? c.layers_in_middle : 0, c.block_out_channels.back(), c.hidden_size,
                  static_cast<float>(c.norm_eps), c.use_bias ? Bias::present : Bias::none) {}

  /// z [B, h, w, latent channels], t_emb [B, D] -> [B, h / stride, w / stride, C]: picture tokens and skip connection
  template <class X, class E>
  auto operator()(const X& z, const E& t_emb) const {
    return mid_block(in_conv(z), t_emb);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("time_embed", self.time_embed);
    walk("in_conv", self.in_conv);
    walk("mid_block", self.mid_block);
  }
};

/// From tokens back to finer pixels: normalise, a 1x1 convolution to r^2 times the channels, pixel shuffle.
template <class P>
struct Unpatchify {
  RmsNorm<P> norm;
  Conv2d<P> unpatch_conv;

  Unpatchify(Index in, Index out, float eps, Bias bias) : norm(in, eps), unpatch_conv(in, 4 * out, 1, {}, bias) {}

  /// x [B, H, W, in] -> [B, 2H, 2W, out]
  template <class X>
  auto operator()(const X& x) const {
    return pixel_shuffle(unpatch_conv(norm(x)), 2);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("norm", self.norm);
    walk("unpatch_conv", self.unpatch_conv);
  }
};

/// The generation decoder g_dec: the language model's states beside the encoder's, ConvNeXt blocks, pixel shuffle.
template <class P>
struct ShallowUViTDecoder {
  RmsNorm<P> input_norm;
  ConvNeXtStage<P> mid_block;
  std::vector<Unpatchify<P>> out_convs;

  explicit ShallowUViTDecoder(const ShallowUViTDecoderConfig& c)
      : input_norm(c.in_channels, static_cast<float>(c.norm_eps)),
        mid_block(c.use_mid_block ? c.layers_in_middle : 0, c.in_channels + c.block_out_channels.back(), c.hidden_size,
                  static_cast<float>(c.norm_eps), c.use_bias ? Bias::present : Bias::none) {
    const Index skip = c.block_out_channels.back();
    for (Index i = 0; i < c.upsamples; ++i)
      out_convs.emplace_back(i == 0 ? c.in_channels + skip : skip, i == c.upsamples - 1 ? c.out_channels : skip,
                             static_cast<float>(c.norm_eps), c.use_bias ? Bias::present : Bias::none);
  }

  /// x [B, H, W, in], skip [B, H, W, C], t_emb [B, D] -> velocity [B, 2^n H, 2^n W, latent channels]
  template <class X, class E>
  auto operator()(const X& x, const X& skip, const E& t_emb) const {
    auto h = mid_block(concat_channels(input_norm(x), skip), t_emb);  // [B, H, W, in + C]
    for (const auto& out_conv : out_convs) h = out_conv(h);
    return h;
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("input_norm", self.input_norm);
    walk("mid_block", self.mid_block);
    walk("out_convs", self.out_convs);
  }
};

}  // namespace janusflow
