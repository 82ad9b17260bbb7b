// silu(group_norm(x)) for the convolution behind it, which computes it as it reads: only ever a few lines of it exist, as input words.
#pragma once

#include <functional>
#include <utility>

#include "janusflow/ops/group_norm.hpp"

namespace janusflow {

/// A picture [B, H, W, C] and what silu(group_norm(x)) makes of it. Keeps a picture that is given away, refers to one that is not.
class NormalisedPicture {
 public:
  /// The arguments of group_norm_silu, whose errors are thrown; `bias` must outlive the picture.
  NormalisedPicture(TensorView<const float, 4> x, TensorView<const float, 1> weight, TensorView<const float, 1> bias, Index groups, float eps)
      : x_(x), bias_(bias), affine_((detail::require_groups<float>("group_norm_silu", x.shape, weight, bias, groups), x), weight, groups, eps) {}
  NormalisedPicture(Tensor<float, 4>&& x, TensorView<const float, 1> weight, TensorView<const float, 1> bias, Index groups, float eps)
      : NormalisedPicture(std::as_const(x).view(), weight, bias, groups, eps) {
    owned_ = std::move(x);
  }
  /// Some lines of pictures, by the moments [B, groups] of the whole ones; throws unless they are as many as that.
  NormalisedPicture(Tensor<float, 4>&& lines, TensorView<const float, 1> weight, TensorView<const float, 1> bias,
                    const std::vector<detail::Moments>& moments, float eps)
      : owned_(std::move(lines)), x_(std::as_const(owned_).view()), bias_(bias),
        affine_((detail::require_groups<float>("group_norm_silu", x_.shape, weight, bias, detail::groups_of(moments, x_.shape)), x_.shape),
                moments, weight, eps) {}
  NormalisedPicture(NormalisedPicture&&) = default;
  NormalisedPicture& operator=(NormalisedPicture&&) = default;

  const Shape<4>& shape() const { return x_.shape; }
  /// Whether it reads memory in [begin, end).
  bool reads(const float* begin, const float* end) const {
    return std::less<>()(x_.data, end) && std::less<>()(begin, x_.row(x_.rows()));
  }
  /// The C numbers of a pixel, counted over all pictures, which will be rounded to T.
  template <class T>
  void read_pixel(Index pixel, float* to) const {
    affine_.map_pixel(pixel, x_.row(pixel), bias_.data, to, [](simd::Batch y) { return simd::silu<T>(y); });
  }

 private:
  Tensor<float, 4> owned_;
  TensorView<const float, 4> x_;
  TensorView<const float, 1> bias_;
  detail::GroupAffine affine_;
};

/// silu(group_norm(x, ...)) for a convolution to read: the numbers of group_norm_silu, whose silu is that of what the convolution rounds
/// them to (simd/math.hpp). A view must outlive what is returned.
inline NormalisedPicture silu_of_group_norm(const Tensor<float, 4>& x, TensorView<const float, 1> weight, TensorView<const float, 1> bias,
                                            Index groups, float eps) {
  return {x.view(), weight, bias, groups, eps};
}
inline NormalisedPicture silu_of_group_norm(Tensor<float, 4>&& x, TensorView<const float, 1> weight, TensorView<const float, 1> bias,
                                            Index groups, float eps) {
  return {std::move(x), weight, bias, groups, eps};
}

}  // namespace janusflow
