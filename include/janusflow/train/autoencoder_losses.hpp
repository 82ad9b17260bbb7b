// What an autoencoder learns by: pictures that come back as they were, and latents that are nearly standard normal.
#pragma once

#include <utility>

#include "janusflow/autodiff/operations.hpp"
#include "janusflow/autodiff/parameters.hpp"
#include "janusflow/models/autoencoder_kl.hpp"

namespace janusflow {

/// The losses of one batch, each a mean over all its numbers.
template <class T>
struct AutoencoderLosses {
  Var<T, 1> l1, l2;       // absolute and squared difference of the pictures
  Var<T, 1> multi_scale;  // the absolute one of pictures of 1/2, 1/4, ... of the size, added up; 0 where there are no scales
  Var<T, 1> edges;        // the absolute one of the differences of neighbouring pixels, along x and along y, added up
  Var<T, 1> kl;           // of the latents from a standard normal distribution
};

namespace detail {

/// Differences of neighbouring pixels: [B, H, W, 3] -> [B, H - 1, W - 1, 6], along x and along y.
template <class T>
Var<T, 4> neighbour_differences(const Var<T, 4>& x) {
  Tensor<T, 4> filter(Shape{Index{6}, Index{3}, Index{2}, Index{2}}, T(0));
  for (Index c = 0; c < 3; ++c) {
    filter(c, c, 0, 0) = filter(3 + c, c, 0, 0) = T(-1);
    filter(c, c, 0, 1) = filter(3 + c, c, 1, 0) = T(1);
  }
  return conv2d(x, Var<T, 4>(std::move(filter)), Var<T, 1>(), {});
}

}  // namespace detail

/// The losses of pictures [B, H, W, 3] in [-1, 1]: they are encoded to a distribution, a sample of it (by noise [B, h, w, Z], standard
/// normal) is decoded again (Rombach et al. 2022, arXiv 2112.10752, section 3.1 and appendix G; without its perceptual and adversarial terms,
/// in whose place stand the comparisons of edges and at `scales` smaller sizes). Record it under a Tape to train. H and W must be multiples of
/// 2^scales and of the autoencoder's downscale().
template <class T>
AutoencoderLosses<T> autoencoder_losses(const AutoencoderKL<Taped<T>>& model, const Tensor<float, 4>& pictures, const Tensor<float, 4>& noise,
                                        Index scales) {
  const Var<T, 4> target = constant<T>(pictures);
  const auto latents = model.encoder(target);                                                    // [B, h, w, Z]
  const auto z = sample_gaussian(latents.mean, latents.logvar, constant<T>(noise));      // [B, h, w, Z]
  const Var<T, 4> picture = model.decoder(z);                                                    // [B, H, W, 3]
  AutoencoderLosses<T> losses{mean_absolute_error(picture, target), mean_squared_error(picture, target), Var<T, 1>(scalar(T(0))),
                              T(2) * mean_absolute_error(detail::neighbour_differences(picture), detail::neighbour_differences(target)),
                              gaussian_kl(latents.mean, latents.logvar)};
  Var<T, 4> small = picture, small_target = target;
  for (Index scale = 0; scale < scales; ++scale) {
    small = average_pool2x(small);
    small_target = average_pool2x(small_target);
    losses.multi_scale = losses.multi_scale + mean_absolute_error(small, small_target);
  }
  return losses;
}

}  // namespace janusflow
