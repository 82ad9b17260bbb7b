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

/// What generation adds to the language model: latents to tokens, and states back to a velocity.
template <class P>
struct VelocityHead {
  ShallowUViTEncoder<P> encoder;
  Linear<P> encoder_aligner;  // U-ViT's width -> hidden size
  RmsNorm<P> decoder_aligner_norm;
  Linear<P> decoder_aligner;  // hidden size -> U-ViT's width
  ShallowUViTDecoder<P> decoder;

  explicit VelocityHead(const JanusFlowConfig& c)
      : encoder(c.vision_gen_enc),
        encoder_aligner(c.vision_gen_enc.block_out_channels.back(), c.language.hidden_size),
        decoder_aligner_norm(c.language.hidden_size, 1e-6f),
        decoder_aligner(c.language.hidden_size, c.vision_gen_dec.in_channels),
        decoder(c.vision_gen_dec) {}

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
  VelocityHead<typename P::Precise> generation;

  explicit JanusFlow(const JanusFlowConfig& c)
      : language_model(c.language), understanding(c), pool(c.vision_und_enc), generation(c) {}

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("language_model", self.language_model);
    UnderstandingEncoder<P>::visit(self.understanding, walk);
    walk("vision_und_enc_model.vision_tower.attn_pool", self.pool);
    VelocityHead<typename P::Precise>::visit(self.generation, walk);
  }
};

/// The velocity of the rectified flow (equation 2 of the paper), for every row that looks at a picture.
///
/// z [B, h, w, Z] are the pictures' latents and times [B], in [0, 1000), where they stand. Rows, R of them, are prompts that
/// their caches hold already: picture_of[r] says which picture row r looks at, sequences[r] what it sees before that picture.
/// So a guided picture is two rows, conditional and unconditional, on one encoding. Returns [R, h, w, Z].
///
/// A row's new tokens are the time embedding, then the picture from left to right and top to bottom, all causal (section 3.2).
template <class P, class H, class X>
X velocity(const LlamaModel<P>& language, const VelocityHead<H>& head, const X& z, std::span<const float> times,
           std::span<const Index> picture_of, std::span<const SequenceContext> sequences) {
  const auto t_emb = head.encoder.time_embed(times);  // [B, C]
  const X skip = head.encoder(z, t_emb);              // [B, H, W, U]
  const auto [batch, height, width, channels] = skip.shape().extents;
  const Index hidden_size = t_emb.shape()[1], rows = std::ssize(picture_of), patches = height * width;

  auto tokens = head.encoder_aligner(skip).reshaped(Shape{batch, patches, hidden_size});  // [B, HW, C]
  auto opened = concat_tokens(t_emb.view().reshape(Shape{batch, Index{1}, hidden_size}), tokens);  // [B, 1 + HW, C]
  const auto states = language(select(opened, picture_of), sequences);                      // [R, 1 + HW, C]
  auto aligned = head.decoder_aligner(head.decoder_aligner_norm(drop_tokens(states, 1)));   // [R, HW, U]
  const Index features = aligned.shape()[2];
  return head.decoder(std::move(aligned).reshaped(Shape{rows, height, width, features}), select(skip, picture_of),
                      select(t_emb, picture_of));  // [R, h, w, Z]
}

}  // namespace janusflow
