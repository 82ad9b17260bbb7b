// The random numbers of PyTorch's CPU generator, so that a seed gives the noise that it gives in the reference models.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <optional>
#include <random>
#include <span>

namespace janusflow {

/// The stream after `torch.manual_seed(seed)`, on the CPU, in float32: successive calls go on in it as successive calls
/// of torch do. normal() differs from torch.randn by 2e-6 at most (torch has float32 logarithms and cosines, which
/// depend on its build and on the machine; here they are the double ones, rounded once); uniform() does not differ.
/// Source: PyTorch, ATen/native/cpu/DistributionTemplates.h (normal_fill, normal_kernel),
/// ATen/core/DistributionsHelper.h and MT19937RNGEngine.h. Every generator is its own stream; no two threads may use
/// one at once.
class TorchGenerator {
 public:
  /// torch seeds the 32-bit Mersenne twister by the low 32 bits alone; a negative seed of torch is its two's
  /// complement.
  explicit TorchGenerator(std::uint64_t seed) : twister_(static_cast<std::uint32_t>(seed)) {}

  /// torch.rand's next value: float, a multiple of 2^-24 in [0, 1).
  float uniform() { return static_cast<float>(next_bits() & 0xffffffu) * 0x1p-24f; }

  /// torch.rand's next value in float64: a multiple of 2^-53 in [0, 1).
  double uniform_double() {
    const std::uint64_t high = next_bits();
    const std::uint64_t low = next_bits();
    return static_cast<double>((high << 32 | low) & 0x1fffffffffffffu) * 0x1p-53;
  }

  /// `torch.randn(shape)` for a shape of out.size() elements: standard normal, independent. As torch's, the values are
  /// not those of two calls that fill the halves.
  void normal(std::span<float> out) {
    if (out.size() < kBlock) {
      for (float& x : out) x = static_cast<float>(next_normal());
      return;
    }
    for (float& x : out) x = uniform();
    for (std::size_t i = 0; i + kBlock <= out.size(); i += kBlock) box_muller(out.subspan(i).first<kBlock>());
    if (out.size() % kBlock != 0) {  // the last block overlaps the one before, and is drawn afresh
      const auto last = out.last<kBlock>();
      for (float& x : last) x = uniform();
      box_muller(last);
    }
  }

 private:
  static constexpr std::size_t kBlock = 16;

  std::uint32_t next_bits() { return static_cast<std::uint32_t>(twister_()); }

  /// Uniform numbers become normal ones in place, the first half's radii with the second half's angles.
  static void box_muller(std::span<float, kBlock> block) {
    constexpr std::size_t half = kBlock / 2;
    for (std::size_t i = 0; i < half; ++i) {
      const double u = 1.0f - block[i];                                      // (0, 1], exact
      const double angle = 2 * std::numbers::pi_v<float> * block[i + half];  // rounded to float as torch does
      const double radius = std::sqrt(-2 * std::log(u));
      block[i] = static_cast<float>(radius * std::cos(angle));
      block[i + half] = static_cast<float>(radius * std::sin(angle));
    }
  }

  /// The path of fewer than 16 elements, in double: two at a time, of which the second waits for the next call.
  double next_normal() {
    if (waiting_) {
      const double normal = *waiting_;
      waiting_.reset();
      return normal;
    }
    const double angle = 2 * std::numbers::pi * uniform_double();
    const double radius = std::sqrt(-2 * std::log1p(-uniform_double()));
    waiting_ = radius * std::sin(angle);
    return radius * std::cos(angle);
  }

  std::mt19937 twister_;
  std::optional<double> waiting_;
};

}  // namespace janusflow
