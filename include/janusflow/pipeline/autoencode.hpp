// Pictures to latents and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "janusflow/core/tensor.hpp"
#include "janusflow/nn/policies.hpp"

namespace janusflow {

struct AutoencoderFiles;
struct AutoencoderKLConfig;

/// An AutoencoderKL ready to run in both directions. Copies share what was loaded.
template <class P>
class Autoencoder {
 public:
  /// Loads both halves of the VAE in `directory`; throws Error as AutoencoderFiles::open and load do.
  static Autoencoder from_directory(const std::filesystem::path& directory);
  explicit Autoencoder(const AutoencoderFiles& files);

  const AutoencoderKLConfig& config() const;

  /// The mean latents of a picture [H, W, 3] whose sides are multiples of downscale(): [1, Z, H / downscale(), ...], as the
  /// encoder gives them, not yet multiplied by scaling_factor.
  Tensor<float, 4> encode(TensorView<const std::uint8_t, 3> picture) const;

  /// The picture [H, W, 3] of latents [1, Z, h, w] as encode returns them; `tiling`: in less memory and more time (decode_in_strips).
  Tensor<std::uint8_t, 3> decode(TensorView<const float, 4> latents, bool tiling = false) const;

 private:
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/pipeline/impl/autoencode.hpp"
#endif
