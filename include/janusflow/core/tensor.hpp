// Tensors: a shape and numbers, last dimension fastest. Tensor owns, TensorView looks.
#pragma once

#include <algorithm>
#include <concepts>
#include <functional>
#include <type_traits>
#include <utility>

#include "janusflow/core/bfloat16.hpp"
#include "janusflow/core/buffer.hpp"
#include "janusflow/core/parallel.hpp"
#include "janusflow/core/shape.hpp"

namespace janusflow {

/// A rank-R window on numbers somebody else owns. The rows (last dimension) are contiguous and `row_stride` elements
/// apart, so that a range of columns is a view too; with row_stride == shape.last() the whole is contiguous.
template <class T, int R>
struct TensorView {
  using value_type = std::remove_const_t<T>;
  static constexpr int rank = R;

  T* data = nullptr;
  Shape<R> shape;
  Index row_stride = 0;

  TensorView() = default;
  TensorView(T* data, Shape<R> shape) : data(data), shape(shape), row_stride(shape.last()) {}
  TensorView(T* data, Shape<R> shape, Index row_stride) : data(data), shape(shape), row_stride(row_stride) {}
  operator TensorView<const T, R>() const requires(!std::is_const_v<T>) { return {data, shape, row_stride}; }

  Index size() const { return shape.size(); }
  Index rows() const { return shape.rows(); }
  bool contiguous() const { return row_stride == shape.last(); }
  /// The i-th last-dimension row, counted over all leading dimensions.
  T* row(Index i) const { return data + i * row_stride; }

  template <class... I>
  requires(sizeof...(I) == R) T& operator()(I... index) const {
    Index row = 0;
    int d = 0;
    Index last = 0;
    ((d < R - 1 ? row = row * shape[d] + static_cast<Index>(index) : last = static_cast<Index>(index), ++d), ...);
    return data[row * row_stride + last];
  }

  /// The i-th slice of the first dimension.
  TensorView<T, R - 1> operator[](Index i) const requires(R >= 2) {
    Shape<R - 1> rest;
    Index rows_each = 1;
    for (int d = 1; d < R; ++d) rest[d - 1] = shape[d];
    for (int d = 1; d < R - 1; ++d) rows_each *= shape[d];
    return {data + i * rows_each * row_stride, rest, R == 2 ? rest.last() : row_stride};
  }

  /// Slices [begin, end) of the first dimension.
  TensorView slice(Index begin, Index end) const requires(R >= 2) {
    Index rows_each = 1;
    for (int d = 1; d < R - 1; ++d) rows_each *= shape[d];
    TensorView part = *this;
    part.data += begin * rows_each * row_stride;
    part.shape[0] = end - begin;
    return part;
  }

  /// Columns [begin, end) of the last dimension.
  TensorView columns(Index begin, Index end) const { return {data + begin, shape.with_last(end - begin), row_stride}; }

  /// The same numbers under another shape of equal size; the view must be contiguous.
  template <int S>
  TensorView<T, S> reshape(Shape<S> other) const {
    require(contiguous() && other.size() == size(), "reshape: ", shape, contiguous() ? "" : " (not contiguous)",
            " cannot be seen as ", other);
    return {data, other};
  }

  const TensorView& view() const { return *this; }
};

/// A rank-R tensor that owns its numbers (from the pool, 64-byte aligned, contents undefined until written). Moves;
/// copies only by clone(), since a silent copy of a weight or an activation is always a mistake here.
template <class T, int R>
class Tensor {
 public:
  using value_type = T;
  static constexpr int rank = R;
  static_assert(std::is_trivially_copyable_v<T>);

  Tensor() = default;
  explicit Tensor(Shape<R> shape) : shape_(shape), size_(shape.size()), buffer_(bytes_of(shape)) {}
  Tensor(Shape<R> shape, T value) : Tensor(shape) { std::fill_n(data(), size_, value); }
  /// Copies the numbers of a view.
  explicit Tensor(TensorView<const T, R> source) : Tensor(source.shape) {
    const Index n = shape_.last(), rows = n ? size_ / n : 0;
    for (Index i = 0; i < rows; ++i) std::copy_n(source.row(i), n, data() + i * n);
  }
  /// What is moved from is empty afterwards.
  Tensor(Tensor&& other) noexcept
      : shape_(std::exchange(other.shape_, {})),
        size_(std::exchange(other.size_, 0)),
        buffer_(std::move(other.buffer_)) {}
  Tensor& operator=(Tensor&& other) noexcept {
    Tensor taken(std::move(other));
    std::swap(shape_, taken.shape_);
    std::swap(size_, taken.size_);
    std::swap(buffer_, taken.buffer_);
    return *this;
  }

  Tensor clone() const { return Tensor(view()); }

  const Shape<R>& shape() const { return shape_; }
  Index size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return static_cast<T*>(buffer_.data()); }
  const T* data() const { return static_cast<const T*>(buffer_.data()); }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }

  TensorView<T, R> view() { return {data(), shape_}; }
  TensorView<const T, R> view() const { return {data(), shape_}; }
  operator TensorView<T, R>() { return view(); }
  operator TensorView<const T, R>() const { return view(); }

  template <class... I>
  T& operator()(I... index) {
    return view()(index...);
  }
  template <class... I>
  const T& operator()(I... index) const {
    return view()(index...);
  }

  /// This tensor under another shape of equal size; the numbers move, nothing is copied.
  template <int S>
  Tensor<T, S> reshaped(Shape<S> other) && {
    require(other.size() == size_, "reshape: ", shape_, " cannot be seen as ", other);
    Tensor<T, S> result;
    result.shape_ = other;
    result.size_ = std::exchange(size_, 0);
    result.buffer_ = std::move(buffer_);
    shape_ = {};
    return result;
  }

 private:
  template <class, int>
  friend class Tensor;

  static std::size_t bytes_of(const Shape<R>& shape) {
    const auto size = static_cast<std::size_t>(shape.size());
    require(size <= ~std::size_t{0} / sizeof(T), "shape ", shape, " is too large");
    return size * sizeof(T);
  }

  Shape<R> shape_;
  Index size_ = 0;
  Buffer buffer_;
};

/// Anything with a view(): a Tensor or a TensorView, of any rank.
template <class X>
concept TensorLike = requires(const X& x) {
  typename X::value_type;
  { X::rank } -> std::convertible_to<int>;
  x.view();
};

namespace detail {
/// out[i] = f(x[i]...) on all threads.
template <class T, class F, class... In>
void transform_numbers(Index n, T* out, F f, const In*... x) {
  parallel_chunks(n, Index{1} << 14, [&](Index begin, Index end) {
#pragma omp simd
    for (Index i = begin; i < end; ++i) out[i] = f(x[i]...);
  });
}
}  // namespace detail

/// y += x, element by element; the shapes must agree.
template <class T, int R>
Tensor<T, R>& operator+=(Tensor<T, R>& y, std::type_identity_t<TensorView<const T, R>> x) {
  require(y.shape() == x.shape, "add: ", y.shape(), " does not match ", x.shape);
  const Index n = x.contiguous() ? y.size() : x.shape.last();
  for (Index begin = 0, row = 0; begin < y.size(); begin += n, ++row) {
    T* out = y.data() + begin;
    detail::transform_numbers(n, out, std::plus<T>(), out, x.row(row));
  }
  return y;
}

/// x + y, element by element; the shapes must agree. A temporary x gives its memory to the sum.
template <class T, int R>
Tensor<T, R> operator+(const Tensor<T, R>& x, const Tensor<T, R>& y) {
  require(x.shape() == y.shape(), "add: ", x.shape(), " does not match ", y.shape());
  Tensor<T, R> sum(x.shape());
  detail::transform_numbers(x.size(), sum.data(), std::plus<T>(), x.data(), y.data());
  return sum;
}
template <class T, int R>
Tensor<T, R> operator+(Tensor<T, R>&& x, const Tensor<T, R>& y) {
  x += y.view();
  return std::move(x);
}

/// factor * x.
template <class T, int R>
Tensor<T, R> operator*(std::type_identity_t<T> factor, const Tensor<T, R>& x) {
  Tensor<T, R> product(x.shape());
  detail::transform_numbers(
      x.size(), product.data(), [factor](T v) { return factor * v; }, x.data());
  return product;
}
template <class T, int R>
Tensor<T, R> operator*(const Tensor<T, R>& x, std::type_identity_t<T> factor) {
  return factor * x;
}

}  // namespace janusflow
