// Tensors as Eigen matrices and back. Not part of the umbrella header: who uses Eigen includes it, who does not need not wait for it.
#pragma once

#include <Eigen/Core>
#include <type_traits>

#include "janusflow/core/tensor.hpp"

namespace janusflow {

/// All rows of a tensor or view as an Eigen matrix [rows, last], no copy: what is written to it is written to the tensor.
template <class T, int R>
auto as_matrix(TensorView<T, R> x) {
  using Matrix = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Mapped = std::conditional_t<std::is_const_v<T>, const Matrix, Matrix>;
  return Eigen::Map<Mapped, 0, Eigen::OuterStride<>>(x.data, x.rows(), x.shape.last(), Eigen::OuterStride<>(x.row_stride));
}
template <class T, int R>
auto as_matrix(Tensor<T, R>& x) {
  return as_matrix(x.view());
}
template <class T, int R>
auto as_matrix(const Tensor<T, R>& x) {
  return as_matrix(x.view());
}

/// An Eigen matrix or expression as a tensor [rows, cols], copied.
template <class Derived>
auto tensor_from(const Eigen::MatrixBase<Derived>& source) {
  Tensor<typename Derived::Scalar, 2> tensor(Shape<2>{{source.rows(), source.cols()}});
  as_matrix(tensor) = source;
  return tensor;
}

}  // namespace janusflow
