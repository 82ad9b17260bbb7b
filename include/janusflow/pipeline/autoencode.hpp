// Pictures to latents and back.
#pragma once

#include "janusflow/pipeline/latents.hpp"
#include "janusflow/pipeline/model_files.hpp"

namespace janusflow {

/// An AutoencoderKL ready to run in both directions.
template <class P>
class Autoencoder {
 public:
  /// Loads both halves of the VAE in `directory`; throws Error as AutoencoderFiles::open and load do.
  static Autoencoder from_directory(const std::filesystem::path& directory) { return Autoencoder(AutoencoderFiles::open(directory)); }

  explicit Autoencoder(const AutoencoderFiles& files) : config_(files.config), encoder_(config_), decoder_(config_) {
    load(encoder_, files.checkpoint);
    load(decoder_, files.checkpoint);
  }

  const AutoencoderKLConfig& config() const { return config_; }

  /// The mean latents of a picture [H, W, 3] whose sides are multiples of downscale(): [1, Z, H / downscale(), ...], as the
  /// encoder gives them, not yet multiplied by scaling_factor.
  Tensor<float, 4> encode(TensorView<const std::uint8_t, 3> picture) const {
    const Index step = config_.downscale();
    require(picture.shape[0] % step == 0 && picture.shape[1] % step == 0 && picture.size() > 0, "autoencoder: the picture's sides (",
            picture.shape[1], " x ", picture.shape[0], ") must be multiples of ", step);
    return channels_first(encoder_(from_bytes(picture)).mean);
  }

  /// The picture [H, W, 3] of latents [1, Z, h, w] as encode returns them.
  Tensor<std::uint8_t, 3> decode(TensorView<const float, 4> latents) const {
    require(latents.shape[0] == 1 && latents.shape[1] == config_.latent_channels && latents.size() > 0, "autoencoder: latents ",
            latents.shape, " must be [1, ", config_.latent_channels, ", h, w]");
    return to_bytes(decoder_(channels_last(latents)), 0);
  }

 private:
  AutoencoderKLConfig config_;
  AutoencoderEncoder<typename P::Precise> encoder_;
  AutoencoderDecoder<typename P::Precise> decoder_;
};

}  // namespace janusflow
