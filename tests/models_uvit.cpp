// ShallowUViT in configurations beyond the published one (tests/data/uvit).
#include <doctest/doctest.h>

#include "golden.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/shallow_uvit.hpp"
#include "janusflow/ops/sequence.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

constexpr double tolerance = 2e-5;  // float32 sums in another order, relative to the largest value

template <class P>
struct Model {
  Golden golden;
  Json config;
  ShallowUViTEncoder<P> encoder;
  ShallowUViTDecoder<P> decoder;

  explicit Model(const std::string& folder)
      : golden(folder + "/golden.safetensors"),
        config(read_json_file(folder + "/config.json")),
        encoder(ShallowUViTEncoderConfig::from_json(params("vision_gen_enc_config"))),
        decoder(ShallowUViTDecoderConfig::from_json(params("vision_gen_dec_config"))) {
    const auto checkpoint = std::make_shared<Checkpoint>(folder);
    load(encoder, checkpoint, "vision_gen_enc_model.");
    load(decoder, checkpoint, "vision_gen_dec_model.");
    auto keys = parameter_keys(encoder, "vision_gen_enc_model.");
    for (auto& key : parameter_keys(decoder, "vision_gen_dec_model.")) keys.push_back(std::move(key));
    CHECK(keys.size() == checkpoint->tensors().size());
    for (const RawTensor& tensor : checkpoint->tensors()) CHECK(std::count(keys.begin(), keys.end(), tensor.key) == 1);
  }

 private:
  JsonObject params(const char* part) const { return JsonObject(config, "config.json").object(part).object("params"); }
};

}  // namespace

TEST_CASE("uvit: deep (kernel 4 with the default padding, two upsamplings) and plain (no biases, no middle block)") {
  for (const std::string name : {"deep", "plain"}) {
    CAPTURE(name);
    const Model<Float32> m(JANUSFLOW_TEST_DATA "/uvit/" + name);
    const auto times = m.golden.tensor<1>("enc.t");
    const auto t_emb = m.encoder.time_embed({times.data(), static_cast<std::size_t>(times.size())});
    CHECK(relative_error(t_emb, m.golden.tensor<2>("enc.t_emb")) < tolerance);
    const auto y = m.encoder(m.golden.picture("enc.x"), t_emb);
    CHECK(relative_error(y, m.golden.picture("enc.y")) < tolerance);
    CHECK(relative_error(m.decoder(m.golden.picture("dec.x"), y, t_emb), m.golden.picture("dec.y")) < tolerance);
  }
}

TEST_CASE_TEMPLATE("uvit: a picture alone has the bytes it has in company, on any number of threads", P, Float32, BFloat16) {
  const Model<P> m(JANUSFLOW_TEST_DATA "/uvit/deep");
  const auto times = m.golden.template tensor<1>("enc.t");
  const auto x = m.golden.picture("enc.x"), d = m.golden.picture("dec.x");
  const auto run = [&](std::span<const Index> rows) {
    std::vector<float> t;
    for (const Index r : rows) t.push_back(times.data()[r]);
    const auto t_emb = m.encoder.time_embed(t);
    return m.decoder(select(d, rows), m.encoder(select(x, rows), t_emb), t_emb);
  };
  const auto both = run(std::array<Index, 2>{0, 1});
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    for (const Index r : {0, 1}) {
      const auto one = run(std::array<Index, 1>{r});
      CHECK(std::equal(one.begin(), one.end(), both.begin() + r * one.size()));
    }
  }
  set_num_threads(before);
}
