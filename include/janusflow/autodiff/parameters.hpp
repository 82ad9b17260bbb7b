// How a model in training keeps its parameters: as variables that gradients are summed up for.
#pragma once

#include <memory>
#include <span>

#include "janusflow/autodiff/variable.hpp"
#include "janusflow/simd/dot.hpp"

namespace janusflow {

/// The master values of one parameter, in the published layout, with a place for their gradient. Trains unless told otherwise: a
/// frozen parameter costs no gradient memory and no work.
template <class T, int R>
class Parameter : public Var<T, R> {
 public:
  Parameter() = default;
  explicit Parameter(Shape<R> shape, T value = 0)
      : Var<T, R>(Tensor<T, R>(shape, value), std::make_shared<detail::GradientSlot<T>>(detail::GradientSlot<T>{shape.size(), true})) {}
  Parameter(Parameter&&) noexcept = default;
  Parameter& operator=(Parameter&&) noexcept = default;

  using Var<T, R>::value;
  TensorView<T, R> value() { return this->numbers_ ? TensorView<T, R>(this->numbers_->data(), this->shape_) : TensorView<T, R>(); }

  bool trains() const { return this->needs_gradient(); }
  /// Freezing gives the gradient's memory back.
  void set_trains(bool trains) {
    if (!this->slot_) return;
    this->slot_->wanted = trains;
    if (!trains) clear_gradient();
  }
  /// Forgets the gradient summed up so far.
  void clear_gradient() {
    if (this->slot_) this->slot_->sum = {};
  }
  /// All gradients as numbers to be worked on, in the order of the values; zeros where nothing flowed back.
  std::span<T> gradient_numbers() {
    if (!trains()) return {};
    auto& sum = this->slot_->sum;
    if (sum.empty()) sum = detail::zeros<T>(this->slot_->size);
    return {sum.data(), static_cast<std::size_t>(sum.size())};
  }
  std::span<T> numbers() {
    return {this->numbers_ ? this->numbers_->data() : nullptr, static_cast<std::size_t>(this->size())};
  }
};

/// The policy of training: master weights of type T in the published layout, all products in T.
template <class T>
struct Taped {
  using Dot = simd::Float32Dot;
  struct Matrix : Parameter<T, 2> {
    Matrix() = default;
    Matrix(Index rows, Index columns) : Parameter<T, 2>(Shape{rows, columns}) {}
  };
  using Table = Matrix;
  struct Filter : Parameter<T, 4> {
    Filter() = default;
    Filter(Index out, Index in, Index kernel) : Parameter<T, 4>(Shape{out, in, kernel, kernel}) {}
  };
  using Upsampling = Filter;
  struct Depthwise : Parameter<T, 4> {
    Depthwise() = default;
    Depthwise(Index channels, Index kernel) : Parameter<T, 4>(Shape{channels, Index{1}, kernel, kernel}) {}
  };
  template <int R>
  using Array = Parameter<T, R>;
  using Precise = Taped;
  using AtLeast8Bits = Taped;
};

}  // namespace janusflow
