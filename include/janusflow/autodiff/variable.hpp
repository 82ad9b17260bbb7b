// Variables: handles to numbers that remember, while a tape records, where their gradient is to be summed up.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

namespace detail {

/// Where the gradient of `size` numbers is summed up. Costs nothing until something is added.
template <class T>
struct GradientSlot {
  Index size = 0;
  bool leaf = false;  // a parameter's, which no operation computes
  bool wanted = true;
  Tensor<T, 1> sum = {};  // empty: nothing was added yet
};

/// n zeros, written by all threads.
template <class T>
Tensor<T, 1> zeros(Index n) {
  Tensor<T, 1> y(Shape{n});
  parallel_chunks(n, 4 * piece_elements, [&](Index begin, Index end) { std::fill(y.data() + begin, y.data() + end, T(0)); });
  return y;
}

/// A copy of the numbers of a view, made by all threads.
template <class T, int R>
Tensor<T, R> copied(TensorView<const T, R> x) {
  return map_elements([](auto v) { return v; }, x);
}

}  // namespace detail

/// Numbers of rank R that were computed, or given, while a model is read for training. A handle: copies share numbers and gradient.
/// As a view's, the rows may be columns of a wider variable, whose numbers and gradient are then shared too. T is float to train
/// and double for finite differences. Not TensorLike: the operations on variables (autodiff/) are overloads beside the kernels.
template <class T, int R>
class Var {
 public:
  Var() = default;
  /// A constant: nothing flows back into it.
  explicit Var(Tensor<T, R> numbers)
      : shape_(numbers.shape()),
        row_stride_(shape_.last()),
        numbers_(std::make_shared<Tensor<T, 1>>(std::move(numbers).reshaped(Shape{shape_.size()}))) {}
  /// With a place for its gradient.
  Var(Tensor<T, R> numbers, std::shared_ptr<detail::GradientSlot<T>> slot) : Var(std::move(numbers)) { slot_ = std::move(slot); }

  const Shape<R>& shape() const { return shape_; }
  Index size() const { return numbers_ ? shape_.size() : 0; }
  bool empty() const { return size() == 0; }
  TensorView<const T, R> value() const {
    return numbers_ ? TensorView<const T, R>(std::as_const(*numbers_).data() + offset_, shape_, row_stride_) : TensorView<const T, R>();
  }
  /// Whether anything before it, or itself, trains.
  bool needs_gradient() const { return slot_ && slot_->wanted; }
  /// Whether it is a parameter that trains, or a view of one.
  bool is_leaf() const { return needs_gradient() && slot_->leaf; }
  /// What its gradient is known by: the same for all handles and views; null for a constant.
  const void* gradient_id() const { return slot_.get(); }
  /// What was summed up so far; null data where nothing was.
  TensorView<const T, R> gradient() const {
    if (!slot_ || slot_->sum.empty()) return {};
    return {std::as_const(slot_->sum).data() + offset_, shape_, row_stride_};
  }

  /// Adds to the gradient, if one is needed. The first to come hands its memory over.
  void accumulate(Tensor<T, R> gradient) const {
    if (!needs_gradient()) return;
    detail::require_same("gradient", shape_, gradient.shape());
    auto& sum = slot_->sum;
    const bool whole = slot_->size == gradient.size();
    if (sum.empty() && whole) {
      sum = std::move(gradient).reshaped(Shape{slot_->size});
      return;
    }
    const TensorView<T, R> to = gradient_sum();
    detail::map_into(to, std::plus<>(), TensorView<const T, R>(to), std::as_const(gradient).view());
  }

  /// The gradient's own memory, to be added to; zeros where nothing was added yet. Only where a gradient is needed.
  TensorView<T, R> gradient_sum() const {
    auto& sum = slot_->sum;
    if (sum.empty()) sum = detail::zeros<T>(slot_->size);
    return {sum.data() + offset_, shape_, row_stride_};
  }

  /// The same numbers under another shape of equal size; throws where they are columns of a wider variable.
  template <int S>
  Var<T, S> reshaped(Shape<S> other) const {
    require(row_stride_ == shape_.last() && other.size() == shape_.size(), "reshape: ", shape_, " cannot be seen as ", other);
    return {other, offset_, other.last(), numbers_, slot_};
  }
  /// Columns [begin, end) of the last dimension.
  Var columns(Index begin, Index end) const {
    require(0 <= begin && begin <= end && end <= shape_.last(), "columns: ", begin, " to ", end, " are not in ", shape_);
    return {shape_.with_last(end - begin), offset_ + begin, row_stride_, numbers_, slot_};
  }

 protected:
  template <class, int>
  friend class Var;

  Var(Shape<R> shape, Index offset, Index row_stride, std::shared_ptr<Tensor<T, 1>> numbers,
      std::shared_ptr<detail::GradientSlot<T>> slot)
      : shape_(shape), offset_(offset), row_stride_(row_stride), numbers_(std::move(numbers)), slot_(std::move(slot)) {}

  Shape<R> shape_;
  Index offset_ = 0, row_stride_ = 0;
  std::shared_ptr<Tensor<T, 1>> numbers_;
  std::shared_ptr<detail::GradientSlot<T>> slot_;
};

/// x, copied to T: a constant, nothing flows back into it.
template <class T, TensorLike X>
Var<T, X::rank> constant(const X& x) {
  const auto view = x.view();
  Tensor<T, X::rank> copy(view.shape);
  for (Index r = 0; r < view.rows(); ++r)
    std::transform(view.row(r), view.row(r) + view.shape.last(), copy.data() + r * view.shape.last(), [](auto v) { return T(v); });
  return Var<T, X::rank>(std::move(copy));
}

/// One number as a tensor [1], such as a loss.
template <class T>
Tensor<T, 1> scalar(T value) {
  return Tensor<T, 1>(Shape{Index{1}}, value);
}

/// The same numbers under another shape.
template <class T, int R, int S>
Var<T, S> reshape(const Var<T, R>& x, Shape<S> shape) {
  return x.reshaped(shape);
}

/// Columns [begin, end) of the last dimension.
template <class T, int R>
Var<T, R> columns(const Var<T, R>& x, Index begin, Index end) {
  return x.columns(begin, end);
}

}  // namespace janusflow
