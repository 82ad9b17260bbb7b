// Random checkpoints, and how a checkpoint differs from what its config asks for.
#include <doctest/doctest.h>

#include "io_testing.hpp"
#include "janusflow/io/random_checkpoint.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"

using namespace janusflow;

namespace {

AutoencoderKLConfig small_vae() {
  AutoencoderKLConfig config;
  config.block_out_channels = {8, 16};
  config.norm_num_groups = 4;
  return config;
}

std::string bytes_of(const io_testing::Folder& directory, std::uint32_t seed, Dtype dtype, int threads) {
  const int before = num_threads();
  set_num_threads(threads);
  AutoencoderDecoder<Layout> decoder(small_vae());
  write_safetensors(directory / "random.safetensors", random_entries(decoder, seed, dtype));
  set_num_threads(before);
  return read_file(directory / "random.safetensors", 1 << 24);
}

}  // namespace

TEST_CASE("a seed gives the same bytes, another one other bytes") {
  const io_testing::Folder directory;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const std::string once = bytes_of(directory, 3, dtype, 1);
    CHECK(bytes_of(directory, 3, dtype, 3) == once);
    CHECK(bytes_of(directory, 4, dtype, 1) != once);
  }
  CHECK_THROWS_AS(bytes_of(directory, 3, Dtype::i8, 1), Error);
}

TEST_CASE("no two tensors of a random checkpoint are the same, nor rows that are handed over at different times") {
  const io_testing::Folder directory;
  bytes_of(directory, 3, Dtype::f32, 1);
  const Checkpoint checkpoint(directory / "random.safetensors");
  const auto numbers = [&](int block) {
    return checkpoint.at(concat("decoder.mid_block.resnets.", block, ".conv1.weight")).to_tensor<float, 4>();
  };
  const auto first = numbers(0), second = numbers(1);
  CHECK_FALSE(std::equal(first.begin(), first.end(), second.begin()));

  constexpr Index rows = 6, columns = Index{1} << 18;  // four at a time
  std::vector<float> written;
  detail::write_random_rows(detail::RandomPool(1), 0, rows, columns, {0, 1}, Dtype::f32, [&](std::span<const std::byte> bytes) {
    const auto* begin = reinterpret_cast<const float*>(bytes.data());
    written.insert(written.end(), begin, begin + bytes.size() / sizeof(float));
  });
  REQUIRE(std::ssize(written) == rows * columns);
  for (Index row = 1; row < rows; ++row) CHECK_FALSE(std::equal(written.begin(), written.begin() + columns, written.begin() + row * columns));
}

TEST_CASE("a random checkpoint loads, and keeps activations of order one") {
  const io_testing::Folder directory;
  bytes_of(directory, 0, Dtype::f32, 2);
  const auto checkpoint = std::make_shared<Checkpoint>(directory / "random.safetensors");
  AutoencoderDecoder<Float32> decoder(small_vae());
  load(decoder, checkpoint);
  Tensor<float, 4> z(Shape<4>{{1, 4, 4, 4}});
  for (Index i = 0; i < z.size(); ++i) z.data()[i] = std::sin(static_cast<float>(i));
  const auto picture = decoder(z);
  double sum = 0;
  for (const float value : picture) sum += static_cast<double>(value) * value;
  const double deviation = std::sqrt(sum / static_cast<double>(picture.size()));
  CHECK(deviation > 0.1);
  CHECK(deviation < 10);
}

TEST_CASE("JanusFlow-1.3B has the published number of parameters") {
  JanusFlowConfig config;
  config.language = {};
  config.language.vocab_size = 102400;
  config.language.hidden_size = 2048;
  config.language.intermediate_size = 5632;
  config.language.num_hidden_layers = 24;
  config.language.num_attention_heads = config.language.num_key_value_heads = 16;
  config.vision_gen_enc.input_channels = config.vision_gen_dec.out_channels = 4;
  config.vision_gen_enc.kernel_size = config.vision_gen_enc.stride = 2;
  config.vision_gen_dec.upsamples = 1;
  JanusFlow<Layout> model(config);
  Index parameters = 0;
  for (const auto& [key, shape] : expected_tensors(model)) parameters += checked_product(shape);
  CHECK(parameters == 2'046'367'504);
}

TEST_CASE("what is missing, unknown and misshapen is found") {
  const io_testing::Folder directory;
  bytes_of(directory, 0, Dtype::f32, 1);
  const Checkpoint checkpoint(directory / "random.safetensors");
  AutoencoderDecoder<Layout> decoder(small_vae());
  auto expected = expected_tensors(decoder);
  const auto fits = compare(checkpoint, expected);
  CHECK(fits.missing.empty());
  CHECK(fits.unknown.empty());
  CHECK(fits.misshapen.empty());

  expected["decoder.conv_in.bias"] = {17};
  expected.erase("decoder.conv_out.bias");
  expected["decoder.conv_extra.bias"] = {3};
  const auto differs = compare(checkpoint, expected);
  CHECK(differs.missing == std::vector<std::string>{"decoder.conv_extra.bias"});
  CHECK(differs.unknown == std::vector<std::string>{"decoder.conv_out.bias"});
  REQUIRE(differs.misshapen.size() == 1);
  CHECK(differs.misshapen[0].ends_with("decoder.conv_in.bias has shape [16], expected [17]"));
}
