// AutoencoderKL against diffusers on random weights, in the layout of sdxl-vae and in another (tests/data/vae).
#include <doctest/doctest.h>

#include <filesystem>

#include "golden.hpp"
#include "io_testing.hpp"
#include "janusflow/nn/random_weights.hpp"
#include "janusflow/pipeline/autoencode.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const std::string data = JANUSFLOW_TEST_DATA "/vae/";
constexpr double tolerance = 2e-5;  // float32 sums in another order, relative to the largest value

template <class P>
struct Model {
  Golden golden;
  AutoencoderFiles files;
  AutoencoderEncoder<P> encoder;
  AutoencoderDecoder<P> decoder;

  explicit Model(const std::string& name)
      : golden(data + name + "/golden.safetensors"),
        files(AutoencoderFiles::open(data + name)),
        encoder(files.config),
        decoder(files.config) {
    load(encoder, files.checkpoint);
    load(decoder, files.checkpoint);
  }
};

}  // namespace

TEST_CASE("autoencoder: mean, log variance and picture") {
  for (const std::string name : {"sdxl", "twelve"}) {
    CAPTURE(name);
    const Model<Float32> m(name);
    const auto latents = m.encoder(m.golden.picture("enc.x"));
    CHECK(relative_error(latents.mean, m.golden.picture("enc.mean")) < tolerance);
    CHECK(relative_error(latents.logvar, m.golden.picture("enc.logvar")) < tolerance);
    CHECK(relative_error(m.decoder(m.golden.picture("dec.z")), m.golden.picture("dec.y")) < tolerance);
  }
}

TEST_CASE("autoencoder: the encoder block by block") {
  const Model<Float32> m("sdxl");
  auto h = m.encoder.conv_in(m.golden.picture("enc2.x"));
  CHECK(relative_error(h, m.golden.picture("enc2.conv_in")) < tolerance);
  for (std::size_t i = 0; i < 4; ++i) {
    h = m.encoder.down_blocks[i](std::move(h));
    CHECK(relative_error(h, m.golden.picture("enc2.down." + std::to_string(i))) < tolerance);
  }
  h = m.encoder.mid_block(std::move(h));
  CHECK(relative_error(h, m.golden.picture("enc2.mid")) < tolerance);
  CHECK(relative_error(m.encoder.conv_out(m.encoder.conv_norm_out.then_silu(h)), m.golden.picture("enc2.conv_out")) < tolerance);
  const auto latents = m.encoder(m.golden.picture("enc2.x"));
  CHECK(relative_error(latents.mean, m.golden.picture("enc2.mean")) < tolerance);
  CHECK(relative_error(latents.logvar, m.golden.picture("enc2.logvar")) < tolerance);
}

TEST_CASE("autoencoder: the decoder block by block") {
  const Model<Float32> m("sdxl");
  auto h = (*m.decoder.post_quant_conv)(m.golden.picture("dec2.z"));
  CHECK(relative_error(h, m.golden.picture("dec2.post_quant")) < tolerance);
  h = m.decoder.conv_in(h);
  CHECK(relative_error(h, m.golden.picture("dec2.conv_in")) < tolerance);
  h = m.decoder.mid_block(std::move(h));
  CHECK(relative_error(h, m.golden.picture("dec2.mid")) < tolerance);
  for (std::size_t i = 0; i < 4; ++i) {
    h = m.decoder.up_blocks[i](std::move(h));
    CHECK(relative_error(h, m.golden.picture("dec2.up." + std::to_string(i))) < tolerance);
  }
  CHECK(relative_error(m.decoder(m.golden.picture("dec2.z")), m.golden.picture("dec2.y")) < tolerance);
}

TEST_CASE("autoencoder: attention's tensors under the names of diffusers before 0.17") {
  const Model<Float32> m("sdxl");
  const Checkpoint old_names(data + "sdxl/old_attention.safetensors");
  CHECK(old_names.tensors().size() == 16);
  std::vector<SafetensorsEntry> entries;
  const auto add = [&](const RawTensor& tensor) {
    entries.push_back({tensor.key, tensor.dtype, tensor.shape, [&tensor](const auto& put) { put(tensor.bytes); }});
  };
  for (const RawTensor& tensor : m.files.checkpoint->tensors())
    if (old_attention_key(tensor.key) == tensor.key) add(tensor);
  for (const RawTensor& tensor : old_names.tensors()) add(tensor);
  const io_testing::Folder folder;
  write_safetensors(folder / "diffusion_pytorch_model.safetensors", entries);
  std::filesystem::copy_file(data + "sdxl/config.json", folder / "config.json");
  const auto older = Autoencoder<Float32>::from_directory(folder.path());
  const auto newer = Autoencoder<Float32>::from_directory(data + "sdxl");
  const auto latents = m.golden.tensor<4>("dec.z");
  const auto a = older.decode(latents), b = newer.decode(latents);
  CHECK(std::equal(a.begin(), a.end(), b.begin()));
  const auto c = older.encode(a), d = newer.encode(a);
  CHECK(std::equal(c.begin(), c.end(), d.begin()));
}

TEST_CASE_TEMPLATE("autoencoder: the same bytes on any number of threads and in company", P, Float32, BFloat16) {
  const Model<P> m("twelve");
  const auto z = m.golden.picture("dec.z");
  const int before = num_threads();
  set_num_threads(1);
  const auto picture = m.decoder(z);
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    const auto again = m.decoder(z);
    CHECK(std::equal(again.begin(), again.end(), picture.begin()));
  }
  set_num_threads(before);
  auto two = select(z, std::array<Index, 2>{0, 0});
  for (Index i = 0; i < z.size(); ++i) two.data()[i] = -two.data()[i];
  const auto both = m.decoder(two);
  CHECK(std::equal(picture.begin(), picture.end(), both.begin() + picture.size()));
  // bfloat16 rounds to 2^-8 in each of the twenty convolutions in a row: errors of independent signs add up to sqrt(20) 2^-8.
  CHECK(relative_error(picture, m.golden.picture("dec.y")) < (std::is_same_v<P, Float32> ? tolerance : 0x1p-4));
}

TEST_CASE_TEMPLATE("autoencoder: decoding in strips gives the same bytes", P, Float32, BFloat16) {
  for (const std::string name : {"sdxl", "twelve"}) {
    const Model<P> m(name);
    const auto z = m.golden.picture("dec.z");
    const auto picture = m.decoder(z);
    const Index largest = picture.shape()[1] * picture.shape()[2] * 8 * static_cast<Index>(sizeof(float));
    // All whole, all in the smallest strips, only the largest pictures in strips, and in strips of several sizes.
    for (const StripBytes bytes : {StripBytes{}, StripBytes{0, 1}, StripBytes{largest, 1}, StripBytes{largest / 4, 1 << 12}, StripBytes{0, 1 << 14}, StripBytes{0, 1 << 20}}) {
      CAPTURE(name);
      CAPTURE(bytes.whole);
      CAPTURE(bytes.strip);
      const auto again = decode_in_strips(m.decoder, z, bytes);
      REQUIRE(again.shape() == picture.shape());
      CHECK(std::equal(again.begin(), again.end(), picture.begin()));
    }
  }
  const Model<P> m("twelve");
  Shape<4> two = m.golden.picture("dec.z").shape();
  two[0] = 2;
  CHECK_THROWS_WITH_AS(decode_in_strips(m.decoder, Tensor<float, 4>(two, 0.0f)), doctest::Contains("must be of one picture"), Error);
}

TEST_CASE_TEMPLATE("autoencoder: where convolutions go by squares, the same bytes in strips and on any number of threads", P, Float32, BFloat16) {
  AutoencoderKLConfig config;
  config.block_out_channels = {32, 64, 32}, config.layers_per_block = 1, config.latent_channels = 4, config.norm_num_groups = 8;
  AutoencoderDecoder<P> decoder(config);
  randomize(decoder, 1);
  for (const Index width : {32, 33}) {
    Tensor<float, 4> z(Shape{Index{1}, Index{11}, width, Index{4}});
    for (Index i = 0; i < z.size(); ++i) z.data()[i] = static_cast<float>(i * 7919 % 101) / 50.0f - 1.0f;
    const auto picture = decoder(z);
    REQUIRE(picture.shape() == Shape{Index{1}, Index{44}, 4 * width, Index{3}});
    const int before = num_threads();
    set_num_threads(3);
    const auto again = decoder(z);
    set_num_threads(before);
    CHECK(std::equal(again.begin(), again.end(), picture.begin()));
    for (const StripBytes bytes : {StripBytes{0, 1}, StripBytes{1 << 20, 1 << 17}, StripBytes{0, 1 << 18}, StripBytes{0, 1 << 20}}) {
      CAPTURE(width);
      CAPTURE(bytes.whole);
      CAPTURE(bytes.strip);
      const auto in_strips = decode_in_strips(decoder, z, bytes);
      CHECK(std::equal(in_strips.begin(), in_strips.end(), picture.begin()));
    }
  }
}

TEST_CASE("autoencoder: the pipeline's two directions") {
  const auto autoencoder = Autoencoder<Float32>::from_directory(data + "sdxl");
  const Golden golden(data + "sdxl/golden.safetensors");
  const auto picture = autoencoder.decode(golden.tensor<4>("dec.z"));
  REQUIRE(picture.shape() == Shape{64, 48, 3});
  const auto tiled = autoencoder.decode(golden.tensor<4>("dec.z"), true);
  CHECK(std::equal(tiled.begin(), tiled.end(), picture.begin()));
  const auto expected = to_bytes(golden.picture("dec.y"), 0);
  Index off = 0;
  for (Index i = 0; i < picture.size(); ++i) {
    CHECK(std::abs(picture.data()[i] - expected.data()[i]) <= 1);
    off += picture.data()[i] != expected.data()[i];
  }
  CHECK(off * 100 < picture.size());  // only where a value lies on the edge between two bytes
  const auto latents = autoencoder.encode(picture);
  CHECK(latents.shape() == Shape{1, 4, 8, 6});
  const Model<Float32> m("sdxl");
  CHECK(relative_error(latents, channels_first(m.encoder(from_bytes(picture)).mean)) == 0);

  const Tensor<std::uint8_t, 3> odd(Shape{Index{64}, Index{50}, Index{3}}, 0);
  CHECK_THROWS_WITH_AS(autoencoder.encode(odd), "autoencoder: the picture's sides (50 x 64) must be multiples of 8", Error);
  CHECK_THROWS_AS(autoencoder.encode(Tensor<std::uint8_t, 3>(Shape{Index{0}, Index{8}, Index{3}})), Error);
  const Tensor<float, 4> two(Shape{Index{2}, Index{4}, Index{2}, Index{2}}, 0.0f), five(Shape{Index{1}, Index{5}, Index{2}, Index{2}}, 0.0f);
  CHECK_THROWS_WITH_AS(autoencoder.decode(two), "autoencoder: latents [2, 4, 2, 2] must be [1, 4, h, w]", Error);
  CHECK_THROWS_WITH_AS(autoencoder.decode(five), "autoencoder: latents [1, 5, 2, 2] must be [1, 4, h, w]", Error);
}
