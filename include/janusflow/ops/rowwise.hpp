// What the operations on rows and elements share: pieces for the threads, and how one function runs over whole tensors.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include "janusflow/core/parallel.hpp"
#include "janusflow/core/tensor.hpp"
#include "janusflow/simd/rows.hpp"

namespace janusflow {

/// A vector of parameters in the type of the numbers of X.
template <class X>
using VectorLike = TensorView<const typename X::value_type, 1>;

namespace detail {

/// Elements in one thread's piece: 64 KiB of floats take many times as long as handing the piece out.
inline constexpr Index piece_elements = Index{1} << 14;

/// The vectorised kernels are for float; other types take the reference.
template <class T>
inline constexpr bool vectorised = std::is_same_v<T, float>;

/// body(begin, end) over chunks of rows of n elements; rows without elements have no work.
template <class Body>
void for_rows(Index rows, Index n, Body&& body) {
  if (n > 0) parallel_chunks(rows, std::max<Index>(1, piece_elements / n), body);
}

template <int R>
void require_vector(const char* op, const Shape<R>& x, const char* name, const Shape<1>& vector) {
  require(vector.last() == x.last(), op, ": x ", x, " does not match ", name, ' ', vector);
}

template <int R>
void require_same(const char* op, const Shape<R>& x, const Shape<R>& y) {
  require(x == y, op, ": ", x, " does not match ", y);
}

/// y = f(x...), element by element, written to `y`; shapes agree. f takes batches where T is float, else scalars.
template <class T, int R, class F, class... In>
void map_into(TensorView<T, R> y, F f, const In&... x) {
  const auto row = [&](Index n, T* out, auto... in) {
    if constexpr (vectorised<T>)
      simd::map(n, out, f, in...);
    else
      for (Index i = 0; i < n; ++i) out[i] = f(in[i]...);
  };
  if (y.contiguous() && (... && x.contiguous()))
    parallel_chunks(y.size(), piece_elements,
                    [&](Index begin, Index end) { row(end - begin, y.data + begin, (x.data + begin)...); });
  else
    for_rows(y.rows(), y.shape.last(), [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) row(y.shape.last(), y.row(r), x.row(r)...);
    });
}

template <TensorLike X>
TensorView<const typename X::value_type, X::rank> const_view(const X& x) {
  return x.view();
}

/// f(x, more...) element by element. A temporary tensor x gives its memory to the result.
template <class F, class X, TensorLike... More>
requires TensorLike<std::remove_cvref_t<X>>
auto map_elements(F f, X&& x, const More&... more) {
  using Plain = std::remove_cvref_t<X>;
  using Owned = Tensor<typename Plain::value_type, Plain::rank>;
  const auto input = const_view(x);
  if constexpr (std::is_same_v<X, Owned>) {  // deduced from a temporary
    map_into(x.view(), f, input, const_view(more)...);
    return Owned(std::move(x));
  } else {
    Owned y(input.shape);
    map_into(y.view(), f, input, const_view(more)...);
    return y;
  }
}

}  // namespace detail

}  // namespace janusflow
