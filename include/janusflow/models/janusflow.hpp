// JanusFlow: one language model that answers about pictures and paints them (Ma et al. 2024, arXiv 2411.07975, figure 2).
#pragma once

#include "janusflow/io/config.hpp"
#include "janusflow/models/llama.hpp"
#include "janusflow/models/shallow_uvit.hpp"
#include "janusflow/models/siglip.hpp"
#include "janusflow/ops/sequence.hpp"

namespace janusflow {

/// What understanding adds to the language model: pictures to embeddings.
template <class P>
struct UnderstandingEncoder {
  SiglipTower<P> vision_tower;
  Linear<typename P::Precise> aligner;           // SigLIP's width -> hidden size
  typename P::template Array<2> beg_of_und_embed;  // [1, C]

  explicit UnderstandingEncoder(const JanusFlowConfig& c)
      : vision_tower(c.vision_und_enc),
        aligner(c.vision_und_enc.width, c.language.hidden_size),
        beg_of_und_embed(Shape{1, c.language.hidden_size}) {}

  /// pixels [B, S, S, 3], normalised -> aligned features [B, N, C], without the embedding that opens a picture
  template <class X>
  auto operator()(const X& pixels) const {
    return aligner(vision_tower(pixels));
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("vision_und_enc_model.vision_tower", self.vision_tower);
    walk("vision_und_enc_aligner", self.aligner);
    walk("beg_of_und_embed", self.beg_of_und_embed);
  }
};

/// Pictures on their way through the generation encoder: what the language model reads of them, and what the decoder needs beside
/// its answer.
template <class Tokens, class Skip, class Time>
struct EncodedLatents {
  Tokens tokens;  // [B, 1 + HW, C]: the time embedding, then the picture from left to right and top to bottom
  Skip skip;      // [B, H, W, U]
  Time t_emb;     // [B, C]
};
template <class Tokens, class Skip, class Time>
EncodedLatents(Tokens, Skip, Time) -> EncodedLatents<Tokens, Skip, Time>;

/// What generation adds to the language model: latents to tokens, and states back to a velocity.
template <class P>
struct VelocityHead {
  ShallowUViTEncoder<P> encoder;
  Linear<typename P::Precise> encoder_aligner;  // U-ViT's width -> hidden size
  RmsNorm<P> decoder_aligner_norm;
  Linear<typename P::Precise> decoder_aligner;  // hidden size -> U-ViT's width
  ShallowUViTDecoder<P> decoder;

  explicit VelocityHead(const JanusFlowConfig& c)
      : encoder(c.vision_gen_enc),
        encoder_aligner(c.vision_gen_enc.block_out_channels.back(), c.language.hidden_size),
        decoder_aligner_norm(c.language.hidden_size, static_cast<float>(c.language.rms_norm_eps)),
        decoder_aligner(c.language.hidden_size, c.vision_gen_dec.in_channels),
        decoder(c.vision_gen_dec) {}

  /// Latents z [B, h, w, Z] at times [B], in [0, 1000).
  template <class X>
  auto encode(const X& z, std::span<const float> times) const {
    auto t_emb = encoder.time_embed(times);  // [B, C]
    auto skip = encoder(z, t_emb);           // [B, H, W, U]
    const auto [batch, height, width, channels] = skip.shape().extents;
    const Index hidden_size = t_emb.shape()[1];
    const auto patches = encoder_aligner(skip).reshaped(Shape{batch, height * width, hidden_size});  // [B, HW, C]
    auto tokens = concat_tokens(reshape(t_emb, Shape{batch, Index{1}, hidden_size}), patches);       // [B, 1 + HW, C]
    return EncodedLatents{std::move(tokens), std::move(skip), std::move(t_emb)};
  }

  /// The language model's states at the pictures' tokens [R, HW, C], with their skip [R, H, W, U] and t_emb [R, C] -> the velocities
  /// [R, h, w, Z].
  template <class S, class X, class E>
  X decode(const S& states, const X& skip, const E& t_emb) const {
    const auto [rows, height, width, channels] = skip.shape().extents;
    auto aligned = decoder_aligner(decoder_aligner_norm(states));  // [R, HW, U]
    const Index features = aligned.shape()[2];
    return decoder(std::move(aligned).reshaped(Shape{rows, height, width, features}), skip, t_emb);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("vision_gen_enc_model", self.encoder);
    walk("vision_gen_enc_aligner", self.encoder_aligner);
    walk("vision_gen_dec_aligner_norm", self.decoder_aligner_norm);
    walk("vision_gen_dec_aligner", self.decoder_aligner);
    walk("vision_gen_dec_model", self.decoder);
  }
};

/// The whole model: every tensor of a published checkpoint, whatever task it serves. For what is done with a checkpoint as such
/// (made, inspected, checked); a pipeline keeps the parts that it runs.
template <class P>
struct JanusFlow {
  LlamaForCausalLM<P> language_model;
  UnderstandingEncoder<P> understanding;
  SiglipPool<P> pool;
  VelocityHead<P> generation;

  explicit JanusFlow(const JanusFlowConfig& c)
      : language_model(c.language), understanding(c), pool(c.vision_und_enc), generation(c) {}

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("language_model", self.language_model);
    UnderstandingEncoder<P>::visit(self.understanding, walk);
    walk("vision_und_enc_model.vision_tower.attn_pool", self.pool);
    VelocityHead<P>::visit(self.generation, walk);
  }
};

/// The velocity of the rectified flow (equation 2 of the paper), for every row that looks at a picture.
///
/// z [B, h, w, Z] are the pictures' latents and times [B], in [0, 1000), where they stand. Rows, R of them, are prompts that
/// their caches hold already: picture_of[r] says which picture row r looks at, sequences[r] what it sees before that picture.
/// So a guided picture is two rows, conditional and unconditional, on one encoding. Returns [R, h, w, Z].
///
/// A row's new tokens are all causal (section 3.2).
template <class P, class X>
X velocity(const LlamaModel<P>& language, const VelocityHead<P>& head, const X& z, std::span<const float> times,
           std::span<const Index> picture_of, std::span<const SequenceContext> sequences) {
  const auto encoded = head.encode(z, times);
  const auto states = language(select(encoded.tokens, picture_of), sequences);  // [R, 1 + HW, C]
  return head.decode(drop_tokens(states, 1), select(encoded.skip, picture_of), select(encoded.t_emb, picture_of));
}

}  // namespace janusflow
