// SigLIP's tower and its pooling head against transformers on random weights (tests/data/siglip).
#include <doctest/doctest.h>

#include "golden.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/siglip.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const std::string folder = JANUSFLOW_TEST_DATA "/siglip";
constexpr double tolerance = 2e-5;  // float32 sums in another order, relative to the largest value

SiglipConfig config() {
  const Json json = read_json_file(folder + "/config.json");
  return SiglipConfig::from_json(JsonObject(json, "config.json").object("vision_und_enc_config").object("params"));
}

template <class P>
struct Model {
  Golden golden{folder + "/golden.safetensors"};
  SiglipTower<P> tower{config()};
  SiglipPool<P> pool{config()};

  Model() {
    const auto checkpoint = std::make_shared<Checkpoint>(folder);
    load(tower, checkpoint, "vision_und_enc_model.vision_tower.");
    load(pool, checkpoint, "vision_und_enc_model.vision_tower.attn_pool.");
  }
};

}  // namespace

TEST_CASE("siglip: every block, the features, and the pooled vector") {
  const Model<Float32> m;
  const auto pixels = m.golden.picture("pixels");
  CHECK(relative_error(m.tower.embed(pixels), m.golden.tensor<3>("patch_embed")) < tolerance);
  Index blocks = 0;
  const auto features = m.tower.features(pixels, [&](Index i, const auto& x) {
    CHECK(i == blocks++);
    CHECK(relative_error(x, m.golden.tensor<3>("block." + std::to_string(i))) < tolerance);
  });
  CHECK(blocks == 3);
  CHECK(relative_error(features, m.golden.tensor<3>("out")) < tolerance);
  const auto pooled = m.pool(features);  // [2, 1, C]
  CHECK(relative_error(pooled.view().reshape(Shape{Index{2}, pooled.shape()[2]}), m.golden.tensor<2>("pooled")) < tolerance);
}

TEST_CASE_TEMPLATE("siglip: a picture alone has the bytes it has in company", P, Float32, BFloat16) {
  const Model<P> m;
  const auto pixels = m.golden.picture("pixels");
  const auto both = m.tower(pixels);
  for (const Index b : {0, 1}) {
    const auto one = m.tower(select(pixels, std::array<Index, 1>{b}));
    CHECK(std::equal(one.begin(), one.end(), both.begin() + b * one.size()));
  }
  // bfloat16 rounds to 2^-8 in every product; three blocks stay within 2^-5 of the largest value.
  CHECK(relative_error(both, m.golden.template tensor<3>("out")) < 0x1p-5);
}

TEST_CASE("siglip: pixels of another size are refused") {
  const Model<Float32> m;
  const Tensor<float, 4> pixels(Shape{Index{1}, Index{42}, Index{40}, Index{3}}, 0.0f);
  CHECK_THROWS_WITH_AS(m.tower(pixels), "siglip: pixels [1, 42, 40, 3] must be [1, 42, 42, 3]", Error);
}
