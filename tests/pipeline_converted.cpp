// The pipelines from a converted directory: the same bytes as from the published one, in every precision.
#include <doctest/doctest.h>

#include "janusflow/io/load.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/pipeline/image_to_text.hpp"
#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

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
void check_converted(const char* precision) {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const Converted<P> converted(precision);
  const auto unconverted = TextToImage<P>::from_directory(tiny_model().path(), tiny_model().vae());
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

TEST_CASE("a converted directory paints and answers the same bytes") {
  check_converted<Int4>("q4");
  check_converted<Int8>("int8");
  check_converted<BFloat16>("bf16");
}
