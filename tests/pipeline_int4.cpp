// The pipelines in 4 bits: near float32, deterministic, and the same from a converted directory.
#include <doctest/doctest.h>

#include "janusflow/io/load.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/pipeline/image_to_text.hpp"
#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const TextToImage<Int4>& painter() {
  static const auto instance = TextToImage<Int4>::from_directory(tiny_model().path(), tiny_model().vae());
  return instance;
}

/// The tiny model, converted as the program does it.
template <class P>
class Converted {
 public:
  explicit Converted(const char* precision) {
    const auto config = read_config<JanusFlowConfig>(model_.path() / "config.json");
    JanusFlow<P> whole(config);
    rewrite(whole, model_.path() / "model.safetensors", precision);
    const auto vae_config = read_config<AutoencoderKLConfig>(model_.vae() / "config.json");
    const auto weights = model_.vae() / "diffusion_pytorch_model.safetensors";
    AutoencoderEncoder<typename P::Precise> encoder(vae_config);
    AutoencoderDecoder<typename P::Precise> decoder(vae_config);
    const auto checkpoint = std::make_shared<const Checkpoint>(weights);
    auto entries = packed_entries(encoder, checkpoint);
    for (auto& entry : packed_entries(decoder, checkpoint)) entries.push_back(std::move(entry));
    write_safetensors(weights, entries, {{packed_precision_key, precision}});
  }
  const TinyModel& model() const { return model_; }

 private:
  template <class M>
  static void rewrite(M& module, const std::filesystem::path& path, const char* precision) {
    write_safetensors(path, packed_entries(module, std::make_shared<const Checkpoint>(path)), {{packed_precision_key, precision}});
  }

  TinyModel model_;
};

template <class P>
void check_converted(const char* precision, const TextToImage<P>& unconverted) {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const Converted<P> converted(precision);
  CHECK(packed_precision(Checkpoint(converted.model().path())) == precision);
  const auto paint = TextToImage<P>::from_directory(converted.model().path(), converted.model().vae());
  const auto expected = unconverted(golden_request(golden)), result = paint(golden_request(golden));
  CHECK(same(result.latents, expected.latents));
  CHECK(same(result.pictures, expected.pictures));

  Tensor<std::uint8_t, 3> picture(Shape{Index{48}, Index{48}, Index{3}});
  for (Index i = 0; i < picture.size(); ++i) picture.data()[i] = static_cast<std::uint8_t>(i * 7);
  const auto ask = [&](const std::filesystem::path& directory) {
    const auto model = ImageToText<P>::from_directory(directory);
    std::vector<Tensor<std::uint8_t, 3>> pictures;
    pictures.push_back(picture.clone());
    typename ImageToText<P>::Conversation conversation(model, std::move(pictures));
    AnswerSettings settings;
    settings.max_new_tokens = 6;
    return conversation.ask(golden_question, settings).ids;
  };
  CHECK(ask(converted.model().path()) == ask(tiny_model().path()));
}

}  // namespace

TEST_CASE("q4: latents of four guided steps stay near float32's") {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto expected = golden.tensor<4>("gen.latents");
  const auto latents = painter()(golden_request(golden)).latents;
  double error = 0, size = 0;
  for (Index i = 0; i < latents.size(); ++i) {
    error += std::pow(double{latents.data()[i]} - double{expected.data()[i]}, 2);
    size += std::pow(double{expected.data()[i]}, 2);
  }
  const double relative = std::sqrt(error / size);
  MESSAGE("relative error of the latents: " << relative);
  CHECK(relative < 0.1);   // of weights that are off by 8 % each, errors of either sign
  CHECK(relative > 1e-3);  // it is 4 bits indeed
}

TEST_CASE("q4: the same bytes on 1, 2 and 3 threads, alone and in company") { check_determinism(painter()); }

TEST_CASE("a converted directory paints and answers the same bytes") {
  check_converted<Int4>("q4", painter());
  check_converted<Int8>("int8", TextToImage<Int8>::from_directory(tiny_model().path(), tiny_model().vae()));
  check_converted<BFloat16>("bf16", TextToImage<BFloat16>::from_directory(tiny_model().path(), tiny_model().vae()));
}
