// Whole blocks of the models, read by the tape, against central differences in double; stopping, checkpointing and freezing.
#include "autodiff_testing.hpp"
#include "janusflow/autodiff/operations.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/llama.hpp"
#include "janusflow/models/shallow_uvit.hpp"
#include "janusflow/models/siglip.hpp"

using namespace testing;
namespace jf = janusflow;
using P = Taped<double>;

namespace {

jf::LlamaConfig llama_config() {
  jf::LlamaConfig c;
  c.hidden_size = 8;
  c.intermediate_size = 6;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 2;
  c.num_key_value_heads = 1;
  c.head_dim = 4;
  c.vocab_size = 7;
  c.max_position_embeddings = 16;
  return c;
}

jf::SiglipConfig siglip_config() {
  jf::SiglipConfig c;
  c.image_size = 4;
  c.patch_size = 2;
  c.width = 6;
  c.layers = 1;
  c.heads = 2;
  c.mlp_ratio = 2;
  return c;
}

}  // namespace

TEST_CASE("blocks: Llama in segments, grouped queries") {
  jf::LlamaModel<P> model(llama_config());
  randomise(model, 1);
  const std::vector<std::int32_t> ids{3, 1, 6, 0, 5, 2};
  const std::vector<jf::Segment> segments{{0, 2, 0, 0, 0}, {2, 4, 0, 2, 2}, {4, 6, 0, 1, 2}};
  check_module(model, [&] {
    return model(model.embed(ids).reshaped(Shape{Index{1}, Index{6}, Index{8}}), segments);
  });
  auto x = leaf(Shape{Index{2}, Index{3}, Index{8}}, 5);
  check_module(model.layers[0], [&](const auto& x) {
    const jf::LlamaPass pass{std::vector<jf::SequenceContext>(2), {}, jf::Rotation({0, 1, 2, 0, 1, 2}, 4, 10000.0)};
    return model.layers[0](static_cast<const Var<double, 3>&>(x), pass);
  }, x);
}

TEST_CASE("blocks: SigLIP's tower and pool") {
  jf::SiglipTower<P> tower(siglip_config());
  randomise(tower, 2);
  auto pixels = leaf(Shape{Index{2}, Index{4}, Index{4}, Index{3}}, 3);
  check_module(tower, [&](const auto& x) { return tower(static_cast<const Var<double, 4>&>(x)); }, pixels);
  jf::SiglipPool<P> pool(siglip_config());
  randomise(pool, 4);
  auto features = leaf(Shape{Index{2}, Index{4}, Index{6}}, 5);
  check_module(pool, [&](const auto& x) { return pool(static_cast<const Var<double, 3>&>(x)); }, features);
}

TEST_CASE("blocks: the generation encoder and decoder") {
  jf::ShallowUViTEncoderConfig e;
  e.input_channels = 2;
  e.block_out_channels = {4};
  e.hidden_size = 6;
  e.kernel_size = e.stride = 2;
  e.padding = 0;
  e.layers_in_middle = 1;
  jf::ShallowUViTEncoder<P> encoder(e);
  randomise(encoder, 1);
  auto z = leaf(Shape{Index{2}, Index{4}, Index{6}, Index{2}}, 2);
  const std::vector<float> times{125.0f, 730.0f};
  check_module(encoder, [&](const auto& z) {
    return encoder(static_cast<const Var<double, 4>&>(z), encoder.time_embed(times));
  }, z);
  jf::ShallowUViTDecoderConfig d;
  d.in_channels = 4;
  d.block_out_channels = {4};
  d.hidden_size = 6;
  d.out_channels = 2;
  d.layers_in_middle = 1;
  d.upsamples = 1;
  jf::ShallowUViTDecoder<P> decoder(d);
  randomise(decoder, 3);
  auto x = leaf(Shape{Index{2}, Index{2}, Index{3}, Index{4}}, 4), skip = leaf(Shape{Index{2}, Index{2}, Index{3}, Index{4}}, 5);
  auto t_emb = leaf(Shape{2, 6}, 6);
  check_module(decoder, [&](const Var<double, 4>& x, const Var<double, 4>& skip, const Var<double, 2>& t) { return decoder(x, skip, t); },
               x, skip, t_emb);
}

TEST_CASE("blocks: the autoencoder's") {
  auto x = leaf(Shape{Index{1}, Index{4}, Index{4}, Index{4}}, 1);
  jf::ResnetBlock<P> same(4, 4, 2), wider(4, 6, 2);
  randomise(same, 2);
  randomise(wider, 3);
  const auto call = [](const auto& block) { return [&block](const Var<double, 4>& x) { return block(x); }; };
  check_module(same, call(same), x);
  check_module(wider, call(wider), x);
  jf::PixelAttention<P> attention(4, 2);
  randomise(attention, 4);
  check_module(attention, call(attention), x);
  jf::DownBlock<P> down(4, 4, 1, 2, true);
  randomise(down, 5);
  check_module(down, call(down), x);
  jf::UpBlock<P> up(4, 2, 1, 2, true);
  randomise(up, 6);
  check_module(up, [&](const Var<double, 4>& x) { return up(x); }, x);
  jf::AutoencoderKLConfig c;
  c.block_out_channels = {4, 4};
  c.latent_channels = 2;
  c.layers_per_block = 1;
  c.norm_num_groups = 2;
  jf::AutoencoderEncoder<P> encoder(c);
  randomise(encoder, 7);
  auto picture = leaf(Shape{Index{1}, Index{4}, Index{4}, Index{3}}, 8);
  check_module(encoder, [&](const Var<double, 4>& x) {
    const auto latents = encoder(x);
    return latents.mean + 0.5 * latents.logvar;
  }, picture);
  jf::AutoencoderDecoder<P> decoder(c);
  randomise(decoder, 9);
  auto z = leaf(Shape{Index{1}, Index{2}, Index{2}, Index{2}}, 10);
  check_module(decoder, [&](const Var<double, 4>& z) { return decoder(z); }, z);
}

TEST_CASE("tape: accumulation, and what is not recorded") {
  auto x = leaf<float>(Shape{2, 3}, 1);
  {
    Tape tape;
    const auto y = jf::silu(x);
    CHECK(tape.steps() == 1);
    tape.backward(y, Tensor<float, 2>(y.shape(), 1.0f));
  }
  const Tensor<float, 2> once(x.value());
  const auto expected = jf::silu_backward(once, Tensor<float, 2>(once.shape(), 1.0f));
  for (Index i = 0; i < 6; ++i) CHECK(x.gradient_numbers()[static_cast<std::size_t>(i)] == expected.data()[i]);
  {
    Tape tape;  // a second pass adds
    const auto y = jf::silu(x);
    tape.backward(y, Tensor<float, 2>(y.shape(), 1.0f));
  }
  for (Index i = 0; i < 6; ++i) CHECK(x.gradient_numbers()[static_cast<std::size_t>(i)] == 2 * expected.data()[i]);

  x.set_trains(false);
  CHECK(std::as_const(x).gradient().data == nullptr);
  Tape tape;
  const auto y = jf::silu(x);
  CHECK(tape.steps() == 0);
  CHECK(message_of([&] { tape.backward(y, Tensor<float, 2>(y.shape(), 1.0f)); }) ==
        "backward: nothing that trains stands behind this variable");
  x.set_trains(true);
  {
    const Tape::Paused paused;
    CHECK(!jf::silu(x).needs_gradient());
  }
  const Var<float, 1> wide = leaf<float>(Shape{2}, 3);
  CHECK(message_of([&] { tape.backward(wide); }) == "backward: a loss is one number, not [2]");
}

TEST_CASE("tape: a block computed again gives the same bytes, and keeps its input alone") {
  jf::SiglipBlock<Taped<float>> block(siglip_config());
  randomise(block, 3);
  auto x = leaf<float>(Shape{Index{2}, Index{4}, Index{6}}, 4);
  const auto run = [&](bool again) {
    x.clear_gradient();
    jf::for_each_parameter(block, [](const std::string&, auto& p) { p.clear_gradient(); });
    Tape tape;
    tape.checkpoints_blocks = again;
    const auto y = jf::run_block(block, static_cast<const Var<float, 3>&>(x));
    CHECK((tape.steps() == 1) == again);
    const auto z = y + jf::silu(static_cast<const Var<float, 3>&>(x));  // x has another reader
    tape.backward(z, random_tensor<float>(z.shape(), 5));
    std::vector<float> all(x.gradient_numbers().begin(), x.gradient_numbers().end());
    jf::for_each_parameter(block, [&](const std::string&, auto& p) {
      const auto g = p.gradient_numbers();
      all.insert(all.end(), g.begin(), g.end());
    });
    return all;
  };
  CHECK(run(false) == run(true));
}
