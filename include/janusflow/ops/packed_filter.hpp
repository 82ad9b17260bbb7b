// A convolution's weights, packed for products.
#pragma once

#include "janusflow/ops/packed.hpp"

namespace janusflow {

/// How a convolution walks over its picture.
struct ConvGeometry {
  Index stride = 1;
  Index top = 0, left = 0, bottom = 0, right = 0;  // zero padding

  static ConvGeometry same(Index kernel) { return {1, kernel / 2, kernel / 2, kernel / 2, kernel / 2}; }
};

/// A convolution's weight [out, in, kernel, kernel], packed for products as [out, kernel * kernel * in]: taps outside, channels
/// inside, as a channels-last picture has them. A tap's channels are filled up with zeros to whole words.
template <class Dot>
  requires(!Dot::quantised)
class PackedFilter {
 public:
  PackedFilter() = default;
  PackedFilter(Index out_channels, Index in_channels, Index kernel)
      : kernel_(kernel), in_(in_channels), matrix_(out_channels, kernel * kernel * words() * Dot::depth) {}

  Index out_channels() const { return matrix_.out_features(); }
  Index in_channels() const { return in_; }
  Index kernel() const { return kernel_; }
  /// Words of one tap.
  Index words() const { return (in_ + Dot::depth - 1) / Dot::depth; }
  Shape<4> shape() const { return {{out_channels(), in_, kernel_, kernel_}}; }
  bool filled() const { return matrix_.filled(); }
  const PackedMatrix<Dot>& matrix() const { return matrix_; }
  PackedMatrix<Dot>& matrix() { return matrix_; }

  /// Fills from `weight` [out, in, kernel, kernel].
  void pack(TensorView<const float, 4> weight) {
    require(weight.shape == shape() && weight.contiguous(), "pack: ", weight.shape, " is not the filter's ", shape());
    const Index taps = kernel_ * kernel_, columns = words() * Dot::depth;
    Tensor<float, 2> rows(Shape{out_channels(), taps * columns}, 0.0f);
    parallel_for(out_channels(), [&](Index o) {
      for (Index c = 0; c < in_; ++c)
        for (Index t = 0; t < taps; ++t) rows(o, t * columns + c) = weight.data[(o * in_ + c) * taps + t];
    });
    matrix_.pack(TensorView<const float, 2>(rows));
  }

 private:
  Index kernel_ = 0, in_ = 0;
  PackedMatrix<Dot> matrix_;
};

}  // namespace janusflow
