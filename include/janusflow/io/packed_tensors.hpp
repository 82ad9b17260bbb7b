// Packed matrices in a checkpoint: how they lie in the file, and how a model takes them from its map without a copy.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "janusflow/io/checkpoint.hpp"
#include "janusflow/nn/parameters.hpp"

namespace janusflow {

/// The key under __metadata__ whose value, "bf16", "int8" or "q4", says that a checkpoint's matrices lie packed.
inline constexpr const char* packed_precision_key = "janusflow.precision";

/// The precision that a checkpoint's matrices are packed in; empty where they lie as they are published.
inline std::string packed_precision(const Checkpoint& checkpoint) {
  for (const SafetensorsFile& file : checkpoint.files())
    if (const auto found = file.metadata().find(packed_precision_key); found != file.metadata().end()) return found->second;
  return {};
}

/// How the words of a policy lie in a file: blocks of 16 outputs, [blocks, words, 16] or, where a word is seen as its parts,
/// [blocks, words, 16, parts].
template <class Dot>
struct PackedForm;
template <>
struct PackedForm<simd::BFloat16Dot> {
  static constexpr Dtype dtype = Dtype::bf16;
  static constexpr Index parts = 2;
};
template <>
struct PackedForm<simd::Int8Dot> {
  static constexpr Dtype dtype = Dtype::u8;
  static constexpr Index parts = 4;
};
template <>
struct PackedForm<simd::Int4Dot> {
  static constexpr Dtype dtype = Dtype::u32;
  static constexpr Index parts = 1;
};

/// The shape of a matrix [out, in] in a file, packed for Dot; a filter's four phases are a leading 4.
template <class Dot>
std::vector<Index> packed_shape(Index out, Index in, Index phases = 1) {
  std::vector<Index> shape;
  if (phases > 1) shape.push_back(phases);
  shape.insert(shape.end(), {(out + simd::panel_columns - 1) / simd::panel_columns, Dot::weight_words(in), simd::panel_columns});
  if (PackedForm<Dot>::parts > 1) shape.push_back(PackedForm<Dot>::parts);
  return shape;
}

namespace detail {

/// The precision that a tensor's dtype and shape say it is packed in; empty where it is not. (No published tensor has these shapes:
/// a filter's kernel is square.)
inline std::string_view packed_form(const RawTensor& raw) {
  const auto ends_with = [&](std::initializer_list<Index> end) {  // behind blocks and words
    return raw.shape.size() >= 2 + end.size() && std::equal(end.begin(), end.end(), raw.shape.end() - std::ssize(end));
  };
  if (raw.dtype == Dtype::bf16 && ends_with({simd::panel_columns, 2})) return simd::BFloat16Dot::name;
  if (raw.dtype == Dtype::u8 && ends_with({simd::panel_columns, 4})) return simd::Int8Dot::name;
  if (raw.dtype == Dtype::u32 && ends_with({simd::panel_columns})) return simd::Int4Dot::name;
  return {};
}

/// Throws where a scale among the words is NaN or infinite.
template <class Dot>
void require_finite_scales([[maybe_unused]] std::span<const typename Dot::WeightWord> words, [[maybe_unused]] Index words_each,
                           [[maybe_unused]] const RawTensor& raw) {
  if constexpr (Dot::quantised) {
    std::atomic<bool> finite = true;
    parallel_chunks(std::ssize(words) / simd::panel_columns / words_each, 1024, [&](Index begin, Index end) {
      bool found = false;
      for (Index i = begin; i < end; ++i)
        for (Index j = 0; j < simd::panel_columns; ++j) {
          const std::uint32_t word = words[static_cast<std::size_t>(i * words_each * simd::panel_columns + j)];
          found |= (word & 0x7f800000u) == 0x7f800000u;
        }
      if (found) finite = false;
    });
    require(finite, raw.name(), " holds a scale that is NaN or infinite");
  }
}

/// Takes the words of matrices of one size, which lie one after the other in `raw`, from where they are; copies them where they are
/// not aligned. Throws Error where they are packed for another precision or have another shape.
template <class Dot>
void adopt(const std::vector<PackedMatrix<Dot>*>& matrices, const RawTensor& raw) {
  using Word = typename Dot::WeightWord;
  const std::string_view form = packed_form(raw);
  require(form == Dot::name, raw.name(), " is packed for ", form, ", not for ", Dot::name,
          ": choose that precision, or convert the published checkpoint again");
  if constexpr (requires { PackedForm<Dot>::dtype; }) {
    const PackedMatrix<Dot>& first = *matrices.front();
    raw.require_shape(packed_shape<Dot>(first.out_features(), first.in_features(), std::ssize(matrices)));
    const Index size = first.blocks() * first.words() * simd::panel_columns;  // each
    const auto* words = reinterpret_cast<const Word*>(raw.bytes.data());
    std::shared_ptr<const void> owner = raw.owner;
    if (reinterpret_cast<std::uintptr_t>(words) % 64 != 0) {
      auto copy = std::make_shared<Buffer>(raw.bytes.size());
      std::memcpy(copy->data(), raw.bytes.data(), raw.bytes.size());
      words = static_cast<const Word*>(copy->data());
      owner = std::move(copy);
    }
    require_finite_scales<Dot>({words, static_cast<std::size_t>(size * std::ssize(matrices))}, first.words(), raw);
    for (PackedMatrix<Dot>* matrix : matrices) {
      matrix->adopt(words, owner);
      words += size;
    }
  }
}

/// Pointers to the matrices of a filter.
template <class Dot>
std::vector<PackedMatrix<Dot>*> matrices_of(PackedMatrix<Dot>& matrix) {
  return {&matrix};
}
template <class Dot>
std::vector<PackedMatrix<Dot>*> matrices_of(PackedFilter<Dot>& filter) {
  return {&filter.matrix()};
}
template <class Dot>
std::vector<PackedMatrix<Dot>*> matrices_of(UpsampleFilter<Dot>& filter) {
  std::vector<PackedMatrix<Dot>*> all;
  for (PackedFilter<Dot>& phase : filter.phases()) all.push_back(&phase.matrix());
  return all;
}

}  // namespace detail

/// Whether a tensor lies packed.
inline bool is_packed(const RawTensor& raw) { return !detail::packed_form(raw).empty(); }

/// Whether a packed tensor has the shape that a parameter [out, in] or [out, in, kernel, kernel] has when it is packed.
inline bool packed_fits(const RawTensor& raw, std::span<const Index> shape) {
  if (shape.size() != 2 && shape.size() != 4) return false;
  const auto of = [&]<class Dot>(std::type_identity<Dot>) {
    const auto taps = [&](Index kernel) { return kernel * kernel * ((shape[1] + Dot::depth - 1) / Dot::depth) * Dot::depth; };
    return raw.shape == packed_shape<Dot>(shape[0], shape.size() == 2 ? shape[1] : taps(shape[2])) ||
           (shape.size() == 4 && raw.shape == packed_shape<Dot>(shape[0], taps(2), 4));
  };
  const std::string_view form = detail::packed_form(raw);
  if (form == simd::BFloat16Dot::name) return of(std::type_identity<simd::BFloat16Dot>());
  if (form == simd::Int8Dot::name) return of(std::type_identity<simd::Int8Dot>());
  return form == simd::Int4Dot::name && of(std::type_identity<simd::Int4Dot>());
}

}  // namespace janusflow
