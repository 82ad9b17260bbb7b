// Every stage of JanusFlow against the official classes on a tiny random model (tests/data/golden_tiny).
#include <doctest/doctest.h>

#include "golden.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const std::string folder = JANUSFLOW_TEST_DATA "/golden_tiny";

// The bar of the goldens: float32 sums in another order, relative to the stage's largest value.
constexpr double stage_tolerance = 2e-5;

struct Model {
  std::shared_ptr<const Checkpoint> checkpoint = std::make_shared<Checkpoint>(folder);
  JanusFlowConfig config = read_config<JanusFlowConfig>(folder + "/config.json");
  JanusFlow<Float32> janusflow{config};
  Golden golden{folder + "/golden.safetensors"};

  Model() { load(janusflow, checkpoint); }
};

Model& model() {
  static Model instance;
  return instance;
}

}  // namespace

TEST_CASE("golden: time embedding") {
  auto& janusflow = model().janusflow;
  auto& golden = model().golden;
  const auto times = golden.tensor<1>("time.t");
  const std::span<const float> list(times.data(), static_cast<std::size_t>(times.size()));
  const auto& embed = janusflow.generation.encoder.time_embed;
  CHECK(relative_error(timestep_embedding(list, embed.channels), golden.tensor<2>("time.sincos")) < stage_tolerance);
  CHECK(relative_error(embed(list), golden.tensor<2>("time.emb")) < stage_tolerance);
}

TEST_CASE("golden: generation encoder") {
  auto& janusflow = model().janusflow;
  auto& golden = model().golden;
  const auto& encoder = janusflow.generation.encoder;
  const float t = golden.tensor<0>("gen.t").data()[0];
  const auto t_emb = encoder.time_embed({&t, 1});
  CHECK(relative_error(t_emb, golden.tensor<1>("gen.t_emb")) < stage_tolerance);
  auto x = encoder.in_conv(golden.picture("gen.z"));
  CHECK(relative_error(x, golden.picture("gen.enc.in_conv")) < stage_tolerance);
  for (int i = 0; i < 2; ++i) {
    x = encoder.mid_block.res_blocks[static_cast<std::size_t>(i)](x, t_emb);
    CHECK(relative_error(x, golden.picture("gen.enc.block" + std::to_string(i))) < stage_tolerance);
  }
  CHECK(relative_error(encoder(golden.picture("gen.z"), t_emb), golden.picture("gen.enc.skip")) < stage_tolerance);
  CHECK(relative_error(janusflow.generation.encoder_aligner(x), golden.tensor<3>("gen.img_emb")) < stage_tolerance);
}

TEST_CASE("golden: language model on the two rows of guidance") {
  auto& janusflow = model().janusflow;
  auto& golden = model().golden;
  const auto& language = janusflow.language_model.model;
  const auto input = golden.tensor<3>("gen.llm.in");  // [2, 45, 64]: prefix of 8, time embedding, 36 patches
  const auto mask = golden.integers("gen.attention_mask");
  const Index length = input.shape()[1], prefix = golden.scalar("prefix_len");
  REQUIRE(length == prefix + 1 + 36);
  auto compare = [&](const Tensor<float, 3>& y, const std::string& name) {
    const auto expected = golden.tensor<3>(name);
    double error = 0, largest = 0;
    for (Index b = 0; b < 2; ++b)
      for (Index t = 0; t < length; ++t)
        if (mask[static_cast<std::size_t>(b * length + t)])
          for (Index c = 0; c < y.shape()[2]; ++c) {
            error = std::max<double>(error, std::abs(y(b, t, c) - expected(b, t, c)));
            largest = std::max<double>(largest, std::abs(expected(b, t, c)));
          }
    INFO(name);
    CHECK(error < stage_tolerance * largest);
  };
  // Row 0 as it is; row 1 as BOS, then everything behind the masked positions, at its own place.
  const TensorView<const float, 3> rows = input;
  KeyValueCache conditional = language.new_cache();
  const SequenceContext start{&conditional, 0, 0};
  const auto head = select(rows, std::array<Index, 1>{0});
  Tensor<float, 3> prefix_input(Shape{Index{1}, prefix, input.shape()[2]});
  std::copy_n(head.data(), prefix_input.size(), prefix_input.data());
  language(std::move(prefix_input), {&start, 1}, Remember::yes);
  CHECK(conditional.length() == prefix);
  const std::array<SequenceContext, 2> both{{{&conditional, prefix, prefix}, {&conditional, 1, prefix}}};
  auto tail = drop_tokens(rows, prefix);
  const auto pad = [&](const Tensor<float, 3>& y) {  // back to the golden's positions
    return concat_tokens(Tensor<float, 3>(Shape{Index{2}, prefix, y.shape()[2]}, 0.0f), y);
  };
  std::vector<Tensor<float, 3>> layers;
  const auto hidden =
      language.hidden(std::move(tail), both, Remember::no, [&](Index, const auto& h) { layers.push_back(pad(h)); });
  for (Index b = 0; b < 2; ++b)
    for (Index t = 0; t < prefix; ++t) const_cast<std::vector<std::int64_t>&>(mask)[static_cast<std::size_t>(b * length + t)] = 0;
  compare(layers[0], "gen.llm.layer0");
  compare(layers[1], "gen.llm.layer1");
  compare(pad(language.norm(hidden)), "gen.llm.out");
}

TEST_CASE("golden: generation decoder") {
  auto& janusflow = model().janusflow;
  auto& golden = model().golden;
  const auto& decoder = janusflow.generation.decoder;
  const std::array<Index, 2> twice{0, 0};
  const auto t_emb = select(golden.tensor<1>("gen.t_emb").view().reshape(Shape{Index{1}, Index{64}}), twice);
  const auto skip = select(golden.picture("gen.enc.skip"), twice);
  const auto x = golden.picture("gen.dec.in");
  auto h = decoder.input_norm(x);
  CHECK(relative_error(h, golden.tensor<4>("gen.dec.input_norm")) < stage_tolerance);
  h = concat_channels(h, skip);
  for (int i = 0; i < 2; ++i) {
    h = decoder.mid_block.res_blocks[static_cast<std::size_t>(i)](h, t_emb);
    CHECK(relative_error(h, golden.picture("gen.dec.block" + std::to_string(i))) < stage_tolerance);
  }
  CHECK(relative_error(decoder.out_convs[0].unpatch_conv(decoder.out_convs[0].norm(h)), golden.picture("gen.dec.unpatch")) <
        stage_tolerance);
  CHECK(relative_error(decoder(x, skip, t_emb), golden.picture("gen.v_rows")) < stage_tolerance);
}

TEST_CASE("the norm in front of the generation decoder has the language model's eps") {
  auto config = model().config;
  config.language.rms_norm_eps = 0.25;
  VelocityHead<Float32> head(config);
  const Index width = config.language.hidden_size;
  head.decoder_aligner_norm.weight = Tensor<float, 1>(Shape{width}, 1.0f);
  CHECK(head.decoder_aligner_norm(Tensor<float, 2>(Shape{Index{1}, width}, 0.5f))(0, 0) == doctest::Approx(0.5 / std::sqrt(0.25 + 0.25)));
}

TEST_CASE("golden: autoencoder") {
  auto& golden = model().golden;
  const auto checkpoint = std::make_shared<Checkpoint>(folder + "/vae");
  const auto config = read_config<AutoencoderKLConfig>(folder + "/vae/config.json");
  AutoencoderDecoder<Float32> decoder(config);
  load(decoder, checkpoint);
  CHECK(relative_error(decoder(golden.picture("vae.dec.in")), golden.picture("vae.dec.out")) < stage_tolerance);
  CHECK(relative_error(decoder(golden.picture("vae.dec2.in")), golden.picture("vae.dec2.out")) < stage_tolerance);
  AutoencoderEncoder<Float32> encoder(config);
  load(encoder, checkpoint);
  const auto latents = encoder(golden.picture("vae.enc.in"));
  CHECK(relative_error(latents.mean, golden.picture("vae.enc.mean")) < stage_tolerance);
  CHECK(relative_error(latents.logvar, golden.picture("vae.enc.logvar")) < stage_tolerance);
}

TEST_CASE("golden: understanding") {
  auto& janusflow = model().janusflow;
  auto& golden = model().golden;
  const auto& tower = janusflow.understanding.vision_tower;
  const auto pixels = golden.picture("und.pixels");
  // und.patch_embed is before the positions are added.
  const auto patches = tower.patch_embed(pixels);
  CHECK(relative_error(patches, golden.tensor<3>("und.patch_embed")) < stage_tolerance);
  const auto features = tower.features(pixels, [&](Index i, const auto& x) {
    CHECK(relative_error(x, golden.tensor<3>("und.block" + std::to_string(i))) < stage_tolerance);
  });
  CHECK(relative_error(features, golden.tensor<3>("und.tower_out")) < stage_tolerance);
  CHECK(relative_error(janusflow.understanding.aligner(features), golden.tensor<3>("und.aligned")) < stage_tolerance);
  const auto states = janusflow.language_model.model(golden.tensor<3>("und.embeds"));
  CHECK(relative_error(janusflow.language_model.lm_head(states), golden.tensor<3>("und.logits")) < stage_tolerance);
}
