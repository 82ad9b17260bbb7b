// The parts of Autoencoder and what it does with them. Included by pipeline/autoencode.hpp.
#pragma once

#include "janusflow/io/latents.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/decode_in_strips.hpp"
#include "janusflow/pipeline/autoencode.hpp"
#include "janusflow/pipeline/model_files.hpp"

namespace janusflow {

template <class P>
struct Autoencoder<P>::Parts {
  AutoencoderKLConfig config;
  AutoencoderEncoder<typename P::Precise> encoder;
  AutoencoderDecoder<typename P::Precise> decoder;

  explicit Parts(const AutoencoderFiles& files) : config(files.config), encoder(config), decoder(config) {
    load(encoder, files.checkpoint);
    load(decoder, files.checkpoint);
  }
};

template <class P>
Autoencoder<P> Autoencoder<P>::from_directory(const std::filesystem::path& directory) {
  return Autoencoder(AutoencoderFiles::open(directory));
}

template <class P>
Autoencoder<P>::Autoencoder(const AutoencoderFiles& files) : parts_(std::make_shared<const Parts>(files)) {}

template <class P>
const AutoencoderKLConfig& Autoencoder<P>::config() const {
  return parts_->config;
}

template <class P>
Tensor<float, 4> Autoencoder<P>::encode(TensorView<const std::uint8_t, 3> picture) const {
  const Index step = config().downscale();
  require(picture.shape[0] % step == 0 && picture.shape[1] % step == 0 && picture.size() > 0, "autoencoder: the picture's sides (",
          picture.shape[1], " x ", picture.shape[0], ") must be multiples of ", step);
  return channels_first(parts_->encoder(from_bytes(picture)).mean);
}

template <class P>
Tensor<std::uint8_t, 3> Autoencoder<P>::decode(TensorView<const float, 4> latents, bool tiling) const {
  const Index channels = config().latent_channels;
  require(latents.shape[0] == 1 && latents.shape[1] == channels && latents.size() > 0, "autoencoder: latents ", latents.shape,
          " must be [1, ", channels, ", h, w]");
  const Tensor<float, 4> z = channels_last(latents);
  return to_bytes(tiling ? decode_in_strips(parts_->decoder, z) : parts_->decoder(z), 0);
}

}  // namespace janusflow
