// Noise in, latents out: a picture is a function of its prompt, its noise and the settings.
#include <algorithm>
#include <cstdio>

#include "janusflow/io/autoencoder_config.hpp"
#include "janusflow/io/safetensors.hpp"
#include "janusflow/pipeline/autoencode.hpp"
#include "janusflow/pipeline/text_to_image.hpp"

using namespace janusflow;

int main() {
  const std::string model = "examples/models/emoji";
  const auto paint = TextToImage<BFloat16>::from_directory(model, model + "/vae");
  const auto by_seed = paint({.prompts = {"snowman"}, .seed = 3});

  const Shape<4> shape = by_seed.latents.shape();  // [1, Z, h, w]
  TextToImageRequest request;
  request.prompts = {"snowman"};
  // torch.manual_seed(3); torch.randn(1, Z, h, w)
  request.noise = std::make_shared<Tensor<float, 4>>(noise(3, shape[1], shape[2], shape[3]));
  const auto by_noise = paint(request);
  std::printf("%s\n", std::ranges::equal(by_seed.pictures[0], by_noise.pictures[0]) ? "the same picture" : "another picture");

  const SafetensorsEntry entries[] = {safetensors_entry("latents", std::as_const(by_seed.latents).view())};
  write_safetensors("snowman.safetensors", entries);  // for torch.load_file, diffusers' VAE, ...

  // The VAE's own latents are these, divided by the scaling factor.
  const auto vae = Autoencoder<BFloat16>::from_directory(model + "/vae");
  auto latents = by_seed.latents.clone();
  for (float& value : latents) value /= static_cast<float>(vae.config().scaling_factor);
  const auto picture = vae.decode(latents);
  std::printf("%s\n", std::ranges::equal(by_seed.pictures[0], picture) ? "the same picture" : "another picture");
}

// Output:
// the same picture
// the same picture
