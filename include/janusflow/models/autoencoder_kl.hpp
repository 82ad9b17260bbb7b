// AutoencoderKL: pictures to latents and back, as Stable Diffusion XL has it (Rombach et al. 2022, arXiv 2112.10752; diffusers).
#pragma once

#include <optional>
#include <vector>

#include "janusflow/io/autoencoder_config.hpp"
#include "janusflow/nn/layers.hpp"

namespace janusflow {

namespace detail {
inline constexpr float vae_eps = 1e-6f;  // of every group norm, in diffusers too
}

/// x + conv2(silu(norm2(conv1(silu(norm1(x)))))), with a 1x1 convolution on x where the number of channels changes.
template <class P>
struct ResnetBlock {
  GroupNorm<P> norm1;
  Conv2d<P> conv1;
  GroupNorm<P> norm2;
  Conv2d<P> conv2;
  std::optional<Conv2d<P>> conv_shortcut;

  ResnetBlock(Index in, Index out, Index groups)
      : norm1(in, groups, detail::vae_eps),
        conv1(Conv2d<P>::same(in, out, 3)),
        norm2(out, groups, detail::vae_eps),
        conv2(Conv2d<P>::same(out, out, 3)) {
    if (in != out) conv_shortcut = Conv2d<P>::same(in, out, 1);
  }

  /// x [B, H, W, in] -> [B, H, W, out]. The memory of an x that is given away becomes the result's, or is free before the end.
  template <class X>
  X operator()(X x) const {
    const auto h = norm2.then_silu(conv1(norm1.then_silu(std::as_const(x))));
    if (conv_shortcut) x = (*conv_shortcut)(x);
    return conv2.onto(std::move(x), h);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("norm1", self.norm1);
    walk("conv1", self.conv1);
    walk("norm2", self.norm2);
    walk("conv2", self.conv2);
    walk("conv_shortcut", self.conv_shortcut);
  }
};

/// Attention with one head over all pixels, and a residual.
template <class P>
struct PixelAttention {
  GroupNorm<P> group_norm;
  Linear<P> to_q, to_k, to_v, to_out;

  PixelAttention(Index channels, Index groups)
      : group_norm(channels, groups, detail::vae_eps),
        to_q(channels, channels),
        to_k(channels, channels),
        to_v(channels, channels),
        to_out(channels, channels) {}

  /// x [B, H, W, C] -> [B, H, W, C]
  template <class X>
  X operator()(const X& x) const {
    const auto [batch, height, width, channels] = x.shape().extents;
    const Shape pixels{batch, height * width, channels};
    const auto h = group_norm(x).reshaped(pixels);                                          // [B, HW, C]
    const auto mixed = attention<typename P::Dot>(to_q(h), to_k(h), to_v(h), 1, 1);         // [B, HW, C]
    return to_out(mixed, Add{x}).reshaped(x.shape());
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("group_norm", self.group_norm);
    walk("to_q", self.to_q);
    walk("to_k", self.to_k);
    walk("to_v", self.to_v);
    walk("to_out.0", self.to_out);
  }
};

/// Residual block, attention, residual block: the middle of encoder and decoder.
template <class P>
struct MidBlock {
  std::optional<PixelAttention<P>> attention;
  std::vector<ResnetBlock<P>> resnets;  // two

  MidBlock(Index channels, Index groups, bool with_attention) {
    if (with_attention) attention.emplace(channels, groups);
    for (int i = 0; i < 2; ++i) resnets.emplace_back(channels, channels, groups);
  }

  /// x [B, H, W, C] -> [B, H, W, C]
  template <class X>
  X operator()(X x) const {
    x = resnets[0](std::move(x));
    if (attention) x = (*attention)(x);
    return resnets[1](std::move(x));
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("attentions.0", self.attention);
    walk("resnets", self.resnets);
  }
};

/// Residual blocks, then down to half the size, except in the last block of the encoder.
template <class P>
struct DownBlock {
  std::vector<ResnetBlock<P>> resnets;
  std::optional<Conv2d<P>> downsample;  // 3x3, stride 2, padded on the right and at the bottom only

  DownBlock(Index in, Index out, Index layers, Index groups, bool halves) {
    for (Index i = 0; i < layers; ++i) resnets.emplace_back(i == 0 ? in : out, out, groups);
    if (halves) downsample.emplace(out, out, 3, ConvGeometry{.stride = 2, .bottom = 1, .right = 1});
  }

  template <class X>
  X operator()(X x) const {
    for (const auto& resnet : resnets) x = run_block(resnet, std::move(x));
    return downsample ? (*downsample)(x) : std::move(x);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("resnets", self.resnets);
    walk("downsamplers.0.conv", self.downsample);
  }
};

/// Residual blocks, then up to twice the size, except in the last block of the decoder.
template <class P>
struct UpBlock {
  std::vector<ResnetBlock<P>> resnets;
  std::optional<UpsampleConv2d<P>> upsample;

  UpBlock(Index in, Index out, Index layers, Index groups, bool doubles) {
    for (Index i = 0; i < layers; ++i) resnets.emplace_back(i == 0 ? in : out, out, groups);
    if (doubles) upsample.emplace(out, out);
  }

  template <class X>
  X operator()(X x) const {
    for (const auto& resnet : resnets) x = run_block(resnet, std::move(x));
    return upsample ? (*upsample)(x) : std::move(x);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("resnets", self.resnets);
    walk("upsamplers.0.conv", self.upsample);
  }
};

/// Mean and logarithm of the variance of q(z | picture), each [B, h, w, latent channels].
template <class X>
struct LatentDistribution {
  X mean, logvar;
};

/// The encoder half, with its quant_conv.
template <class P>
struct AutoencoderEncoder {
  Conv2d<P> conv_in;
  std::vector<DownBlock<P>> down_blocks;
  MidBlock<P> mid_block;
  GroupNorm<P> conv_norm_out;
  Conv2d<P> conv_out;                   // to 2 latent channels: mean and logvar
  std::optional<Conv2d<P>> quant_conv;  // 1x1

  explicit AutoencoderEncoder(const AutoencoderKLConfig& c)
      : conv_in(Conv2d<P>::same(c.in_channels, c.block_out_channels.front(), 3)),
        mid_block(c.block_out_channels.back(), c.norm_num_groups, c.mid_block_add_attention),
        conv_norm_out(c.block_out_channels.back(), c.norm_num_groups, detail::vae_eps),
        conv_out(Conv2d<P>::same(c.block_out_channels.back(), 2 * c.latent_channels, 3)) {
    const std::size_t blocks = c.block_out_channels.size();
    for (std::size_t i = 0; i < blocks; ++i)
      down_blocks.emplace_back(c.block_out_channels[i ? i - 1 : 0], c.block_out_channels[i], c.layers_per_block,
                               c.norm_num_groups, i + 1 < blocks);
    if (c.use_quant_conv) quant_conv = Conv2d<P>::same(2 * c.latent_channels, 2 * c.latent_channels, 1);
  }

  /// picture [B, H, W, 3] in [-1, 1], H and W multiples of downscale() -> the latents' distribution, H / downscale() high
  template <class X>
  LatentDistribution<X> operator()(const X& picture) const {
    X h = conv_in(picture);
    for (const auto& block : down_blocks) h = block(std::move(h));
    h = conv_out(conv_norm_out.then_silu(mid_block(std::move(h))));  // [B, h, w, 2 Z]
    if (quant_conv) h = (*quant_conv)(h);
    const Index z = h.shape()[3] / 2;
    return {X(columns(h, 0, z)), X(columns(h, z, 2 * z))};
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("encoder.conv_in", self.conv_in);
    walk("encoder.down_blocks", self.down_blocks);
    walk("encoder.mid_block", self.mid_block);
    walk("encoder.conv_norm_out", self.conv_norm_out);
    walk("encoder.conv_out", self.conv_out);
    walk("quant_conv", self.quant_conv);
  }
};

/// The decoder half, with its post_quant_conv.
template <class P>
struct AutoencoderDecoder {
  std::optional<Conv2d<P>> post_quant_conv;  // 1x1
  Conv2d<P> conv_in;
  MidBlock<P> mid_block;
  std::vector<UpBlock<P>> up_blocks;
  GroupNorm<P> conv_norm_out;
  Conv2d<P> conv_out;

  explicit AutoencoderDecoder(const AutoencoderKLConfig& c)
      : conv_in(Conv2d<P>::same(c.latent_channels, c.block_out_channels.back(), 3)),
        mid_block(c.block_out_channels.back(), c.norm_num_groups, c.mid_block_add_attention),
        conv_norm_out(c.block_out_channels.front(), c.norm_num_groups, detail::vae_eps),
        conv_out(Conv2d<P>::same(c.block_out_channels.front(), c.out_channels, 3)) {
    if (c.use_post_quant_conv) post_quant_conv = Conv2d<P>::same(c.latent_channels, c.latent_channels, 1);
    const std::size_t blocks = c.block_out_channels.size();
    for (std::size_t i = 0; i < blocks; ++i)  // from the widest to the narrowest
      up_blocks.emplace_back(c.block_out_channels[blocks - std::max<std::size_t>(i, 1)], c.block_out_channels[blocks - 1 - i],
                             c.layers_per_block + 1, c.norm_num_groups, i + 1 < blocks);
  }

  /// z [B, h, w, latent channels], divided by the scaling factor already -> picture [B, H, W, 3], about [-1, 1].
  template <class X>
  X operator()(const X& z) const {
    X h = post_quant_conv ? conv_in((*post_quant_conv)(z)) : conv_in(z);
    h = mid_block(std::move(h));
    for (const auto& block : up_blocks) h = block(std::move(h));
    return conv_out(conv_norm_out.then_silu(h));
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("post_quant_conv", self.post_quant_conv);
    walk("decoder.conv_in", self.conv_in);
    walk("decoder.mid_block", self.mid_block);
    walk("decoder.up_blocks", self.up_blocks);
    walk("decoder.conv_norm_out", self.conv_norm_out);
    walk("decoder.conv_out", self.conv_out);
  }
};

/// Both halves: every tensor of a published autoencoder.
template <class P>
struct AutoencoderKL {
  AutoencoderEncoder<P> encoder;
  AutoencoderDecoder<P> decoder;

  explicit AutoencoderKL(const AutoencoderKLConfig& c) : encoder(c), decoder(c) {}

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    AutoencoderEncoder<P>::visit(self.encoder, walk);
    AutoencoderDecoder<P>::visit(self.decoder, walk);
  }
};

}  // namespace janusflow
