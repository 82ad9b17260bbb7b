// The names of the policies of inference, for whoever need not know what they say (nn/parameters.hpp).
#pragma once

namespace janusflow {

namespace simd {
struct Float32Dot;
struct BFloat16Dot;
}  // namespace simd

template <class D>
struct Packed;
using Float32 = Packed<simd::Float32Dot>;
using BFloat16 = Packed<simd::BFloat16Dot>;
struct Int8;
struct Int4;

}  // namespace janusflow
