// A picture to latents and back.
#include <cstdio>

#include "janusflow/io/image.hpp"
#include "janusflow/pipeline/autoencode.hpp"

using namespace janusflow;

int main() {
  const auto vae = Autoencoder<Float32>::from_directory("examples/models/emoji/vae");
  const Picture picture(Shape{64, 96, 3}, std::uint8_t{255});  // or read_picture(path)

  const auto latents = vae.encode(picture);  // [1, Z, 64 / 8, 96 / 8], the mean of the posterior
  const Picture back = vae.decode(latents);  // [64, 96, 3]
  std::printf("[%td, %td, %td, %td], %s\n", latents.shape()[0], latents.shape()[1], latents.shape()[2], latents.shape()[3],
              psnr(picture, back) > 20 ? "much the same picture" : "another picture");
}

// Output:
// [1, 12, 8, 12], much the same picture
