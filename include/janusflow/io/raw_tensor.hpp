// A tensor as it lies in a file: a key, an element type, a shape and bytes, with its conversions to numbers.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "janusflow/core/parallel.hpp"
#include "janusflow/core/tensor.hpp"

namespace janusflow {

static_assert(std::endian::native == std::endian::little,
              "safetensors files are little endian and are mapped as they are");

/// The element types of the safetensors format that this library knows.
enum class Dtype { f64, f32, f16, bf16, f8_e4m3, f8_e5m2, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

namespace detail {
struct DtypeFacts {
  std::string_view name;
  std::size_t size;
};
/// In the order of Dtype.
inline constexpr std::array<DtypeFacts, 15> dtype_facts{{{"F64", 8},
                                                         {"F32", 4},
                                                         {"F16", 2},
                                                         {"BF16", 2},
                                                         {"F8_E4M3", 1},
                                                         {"F8_E5M2", 1},
                                                         {"I64", 8},
                                                         {"I32", 4},
                                                         {"I16", 2},
                                                         {"I8", 1},
                                                         {"U64", 8},
                                                         {"U32", 4},
                                                         {"U16", 2},
                                                         {"U8", 1},
                                                         {"BOOL", 1}}};
}  // namespace detail

/// The name as the format writes it: "BF16".
constexpr std::string_view dtype_name(Dtype dtype) { return detail::dtype_facts[static_cast<std::size_t>(dtype)].name; }
/// Bytes an element.
constexpr std::size_t dtype_size(Dtype dtype) { return detail::dtype_facts[static_cast<std::size_t>(dtype)].size; }
/// The type of that name, or nothing.
constexpr std::optional<Dtype> dtype_from_name(std::string_view name) {
  for (std::size_t i = 0; i < detail::dtype_facts.size(); ++i)
    if (detail::dtype_facts[i].name == name) return static_cast<Dtype>(i);
  return std::nullopt;
}

/// The Dtype that stores a T as it is.
template <class T>
constexpr Dtype dtype_of() {
  if constexpr (std::is_same_v<T, double>) return Dtype::f64;
  if constexpr (std::is_same_v<T, float>) return Dtype::f32;
  if constexpr (std::is_same_v<T, bfloat16>) return Dtype::bf16;
  if constexpr (std::is_integral_v<T>) {
    constexpr Dtype with_sign[] = {Dtype::i8, Dtype::i16, Dtype::i32, Dtype::i64};
    constexpr Dtype without_sign[] = {Dtype::u8, Dtype::u16, Dtype::u32, Dtype::u64};
    return (std::is_signed_v<T> ? with_sign : without_sign)[std::bit_width(sizeof(T)) - 1];
  }
}

/// Whether extents of one count when a stored shape is compared with the expected one: [1, 1, 1, 3072] is [3072] and
/// the 1x1 convolution [512, 512, 1, 1] is the matrix [512, 512] where they are ignored. The numbers' order is the same
/// either way.
enum class Ones { count, ignored };

/// A tensor of a file, not yet read. `bytes` (unaligned, little endian, last dimension fastest) belong to the file's
/// map.
struct RawTensor {
  std::string key;
  Dtype dtype = Dtype::f32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;
  std::string file;                   // for the errors
  std::shared_ptr<const void> owner;  // keeps the bytes mapped

  /// Number of elements.
  Index size() const { return checked_product(shape); }

  /// Writes elements [first, first + count) to `out`. Floating-point T (float, double, bfloat16) takes F64, F32, F16
  /// and BF16, rounding to nearest where T is narrower; integral T takes the integers and BOOL and throws when a value
  /// does not fit. Throws, naming the key, for any other dtype.
  template <class T>
  void copy_to(T* out, Index first, Index count) const {
    require(first >= 0 && count >= 0 && first <= size() - count, name(), ": elements ", first, " to ", first + count,
            " are outside ", Extents{shape});
    const std::byte* from = bytes.data() + static_cast<std::size_t>(first) * dtype_size(dtype);
    // Large tensors are converted by all threads: most of the time goes into bringing the file's pages in.
    parallel_chunks(count, Index{1} << 18, [&](Index begin, Index end) {
      convert(out + begin, from + static_cast<std::size_t>(begin) * dtype_size(dtype), end - begin);
    });
  }
  /// Writes all elements to `out`.
  template <class T>
  void copy_to(T* out) const {
    copy_to(out, 0, size());
  }

  /// Throws unless the stored shape is `expected`.
  void require_shape(std::span<const Index> expected, Ones ones = Ones::count) const {
    const auto kept = [&](std::span<const Index> extents) {
      std::vector<Index> list(extents.begin(), extents.end());
      if (ones == Ones::ignored) std::erase(list, 1);
      return list;
    };
    require(kept(shape) == kept(expected), name(), " has shape ", Extents{shape}, ", expected ", Extents{expected});
  }

  /// All elements as a tensor of exactly this shape, converted as by copy_to.
  template <class T, int R>
  Tensor<T, R> to_tensor(Shape<R> expected, Ones ones = Ones::count) const {
    require_shape(expected.extents, ones);
    Tensor<T, R> tensor(expected);
    copy_to(tensor.data());
    return tensor;
  }
  /// All elements as a tensor of the stored shape, whose rank must be R.
  template <class T, int R>
  Tensor<T, R> to_tensor() const {
    require(shape.size() == R, name(), " has shape ", Extents{shape}, ", expected ", R,
            R == 1 ? " dimension" : " dimensions");
    Shape<R> own;
    std::copy_n(shape.begin(), R, own.extents.begin());
    return to_tensor<T, R>(own);
  }

  /// The elements where they lie, valid while `owner` lives: nothing is read or copied. Empty where they are stored as
  /// another type or not aligned for this one; throws unless the stored shape is `expected`.
  template <class T, int R>
  std::optional<TensorView<const T, R>> view_in_place(Shape<R> expected, Ones ones = Ones::count) const {
    require_shape(expected.extents, ones);
    const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) == 0;
    if (dtype != dtype_of<T>() || !aligned) return std::nullopt;
    return TensorView<const T, R>(reinterpret_cast<const T*>(bytes.data()), expected);
  }

  /// Throws unless the elements are floating-point numbers of a type that is read.
  void require_floating_point() const {
    require(dtype <= Dtype::bf16, name(), " holds ", dtype_name(dtype), ", expected floating-point numbers (F64, F32, F16 or BF16)");
  }

  /// "model.safetensors: language_model.lm_head.weight", as the errors say it.
  std::string name() const { return file + ": " + key; }

 private:
  template <class From>
  static From load(const std::byte* bytes) {
    From value;
    std::memcpy(&value, bytes, sizeof(From));
    return value;
  }

  template <class T>
  void convert(T* out, const std::byte* from, Index count) const {
    const auto each = [&]<class From>(std::type_identity<From>, auto&& to) {
      if constexpr (std::is_same_v<From, T>) {
        if (count) std::memcpy(out, from, static_cast<std::size_t>(count) * sizeof(T));
      } else {
        for (Index i = 0; i < count; ++i) out[i] = to(load<From>(from + static_cast<std::size_t>(i) * sizeof(From)));
      }
    };
    if constexpr (std::is_same_v<T, bfloat16> || std::is_floating_point_v<T>) {
      const auto plain = [](auto x) {
        if constexpr (std::is_same_v<T, bfloat16>) {
          return bfloat16(static_cast<float>(x));
        } else {
          return static_cast<T>(x);
        }
      };
      switch (dtype) {
        case Dtype::f64:
          return each(std::type_identity<double>(), plain);
        case Dtype::f32:
          return each(std::type_identity<float>(), plain);
        case Dtype::f16:
          return each(std::type_identity<std::uint16_t>(), [&](std::uint16_t x) { return plain(float_from_half(x)); });
        case Dtype::bf16:
          return each(std::type_identity<bfloat16>(), plain);
        default:
          require_floating_point();
      }
    } else {
      static_assert(std::integral<T> && !std::is_same_v<T, bool>);
      const auto checked = [&](auto x) {
        require(std::in_range<T>(x), name(), " holds the number ", +x, ", out of range for what is made of it");
        return static_cast<T>(x);
      };
      switch (dtype) {
        case Dtype::i64:
          return each(std::type_identity<std::int64_t>(), checked);
        case Dtype::i32:
          return each(std::type_identity<std::int32_t>(), checked);
        case Dtype::i16:
          return each(std::type_identity<std::int16_t>(), checked);
        case Dtype::i8:
          return each(std::type_identity<std::int8_t>(), checked);
        case Dtype::u64:
          return each(std::type_identity<std::uint64_t>(), checked);
        case Dtype::u32:
          return each(std::type_identity<std::uint32_t>(), checked);
        case Dtype::u16:
          return each(std::type_identity<std::uint16_t>(), checked);
        case Dtype::u8:
          return each(std::type_identity<std::uint8_t>(), checked);
        case Dtype::boolean:
          return each(std::type_identity<std::uint8_t>(), [](std::uint8_t x) { return static_cast<T>(x != 0); });
        default:
          fail(name(), " holds ", dtype_name(dtype), ", expected integers");
      }
    }
  }
};

/// Whether a floating-point tensor's numbers are finite, and stay so where they are rounded to T (true for integers). Compares
/// bits, converts nothing.
template <class T = double>
bool all_finite(const RawTensor& tensor) {
  // Magnitudes lie in the order of their bits; behind the finite ones come infinity and NaN.
  const auto below = [&]<class Word>(Word end) {
    std::atomic<bool> finite = true;
    parallel_chunks(tensor.size(), Index{1} << 18, [&](Index begin, Index last) {
      Word largest = 0;  // GCC makes vectors of a maximum, and none of "any is too large"
      for (Index i = begin; i < last; ++i) {
        Word word;
        std::memcpy(&word, tensor.bytes.data() + static_cast<std::size_t>(i) * sizeof(Word), sizeof(Word));
        // Word has a sign, so that its largest number masks it.
        largest = std::max(largest, static_cast<Word>(word & std::numeric_limits<Word>::max()));
      }
      if (largest >= end) finite = false;
    });
    return finite.load();
  };
  // Rounding makes infinity of what lies half a step above the largest number; bfloat16 is rounded from float.
  constexpr double wide = std::is_same_v<T, bfloat16> ? 0x1p128 - 0x1p119 - 0x1p103
                          : std::is_same_v<T, float>  ? 0x1p128 - 0x1p103
                                                      : std::numeric_limits<double>::infinity();
  constexpr float narrow = std::is_same_v<T, bfloat16> ? 0x1p127f + (0x1p127f - 0x1p119f) : std::numeric_limits<float>::infinity();
  switch (tensor.dtype) {
    case Dtype::f64:
      return below(std::bit_cast<std::int64_t>(wide));
    case Dtype::f32:
      return below(std::bit_cast<std::int32_t>(narrow));
    case Dtype::f16:
      return below(std::int16_t{0x7c00});
    case Dtype::bf16:
      return below(std::int16_t{0x7f80});
    case Dtype::f8_e4m3:
    case Dtype::f8_e5m2:
      fail(tensor.name(), " holds ", dtype_name(tensor.dtype), ", which is not read");
    default:
      return true;
  }
}

}  // namespace janusflow
