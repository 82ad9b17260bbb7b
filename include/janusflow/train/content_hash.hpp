// XXH64: a fast 64-bit hash of bytes, by which cached features find their pictures and files are checked.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace janusflow {

namespace detail {

inline constexpr std::array<std::uint64_t, 5> xxh_primes{0x9E3779B185EBCA87u, 0xC2B2AE3D27D4EB4Fu, 0x165667B19E3779F9u, 0x85EBCA77C2B2AE63u,
                                                         0x27D4EB2F165667C5u};

inline std::uint64_t xxh_round(std::uint64_t sum, std::uint64_t input) {
  return std::rotl(sum + input * xxh_primes[1], 31) * xxh_primes[0];
}

template <class Word>
std::uint64_t xxh_read(const std::byte* from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

}  // namespace detail

/// XXH64 of `bytes` (Y. Collet, github.com/Cyan4973/xxHash, doc/xxhash_spec.md), for little-endian machines. No defence against
/// somebody who wants two contents to collide.
inline std::uint64_t content_hash(std::span<const std::byte> bytes, std::uint64_t seed = 0) {
  using namespace detail;
  const auto& [p1, p2, p3, p4, p5] = xxh_primes;
  const std::byte *at = bytes.data(), *end = at + bytes.size();
  std::uint64_t hash = seed + p5;
  if (bytes.size() >= 32) {
    std::array<std::uint64_t, 4> sums{seed + p1 + p2, seed + p2, seed, seed - p1};
    for (; end - at >= 32; at += 32)
      for (std::size_t lane = 0; lane < 4; ++lane) sums[lane] = xxh_round(sums[lane], xxh_read<std::uint64_t>(at + 8 * lane));
    hash = std::rotl(sums[0], 1) + std::rotl(sums[1], 7) + std::rotl(sums[2], 12) + std::rotl(sums[3], 18);
    for (const std::uint64_t sum : sums) hash = (hash ^ xxh_round(0, sum)) * p1 + p4;
  }
  hash += bytes.size();
  for (; end - at >= 8; at += 8) hash = std::rotl(hash ^ xxh_round(0, xxh_read<std::uint64_t>(at)), 27) * p1 + p4;
  if (end - at >= 4) {
    hash = std::rotl(hash ^ (xxh_read<std::uint32_t>(at) * p1), 23) * p2 + p3;
    at += 4;
  }
  for (; at < end; ++at) hash = std::rotl(hash ^ (static_cast<std::uint64_t>(*at) * p5), 11) * p1;
  hash = (hash ^ (hash >> 33)) * p2;
  hash = (hash ^ (hash >> 29)) * p3;
  return hash ^ (hash >> 32);
}
inline std::uint64_t content_hash(std::string_view text, std::uint64_t seed = 0) {
  return content_hash(std::as_bytes(std::span(text)), seed);
}

/// Sixteen hexadecimal digits.
inline std::string hex(std::uint64_t value) {
  std::string digits(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) digits[i] = "0123456789abcdef"[value & 15];
  return digits;
}

}  // namespace janusflow
