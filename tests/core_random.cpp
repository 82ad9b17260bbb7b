// The noise of torch.manual_seed and torch.randn, against values that torch gave.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "janusflow/core/random.hpp"

using janusflow::TorchGenerator;

namespace {

constexpr double kTolerance = 2e-6;  // the contract of TorchGenerator::normal, for each value

std::string read_file(const std::string& name) {
  std::ifstream file(std::string(JANUSFLOW_TEST_DATA "/random/") + name, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A tensor of a safetensors file, without the library's own reader: core's tests stand on core alone.
template <class T>
std::vector<T> tensor(const std::string& file, const char* name) {
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), sizeof header_size);
  const auto entry = nlohmann::json::parse(file.substr(8, header_size)).at(name);
  REQUIRE(entry.at("dtype") == (sizeof(T) == 8 ? "I64" : "F32"));
  const std::size_t begin = entry.at("data_offsets").at(0), end = entry.at("data_offsets").at(1);
  std::vector<T> values((end - begin) / sizeof(T));
  std::memcpy(values.data(), file.data() + 8 + header_size + begin, end - begin);
  return values;
}

}  // namespace

// tests/reference/make_random.py: first 24 and last 24 values, and two sums over all.
TEST_CASE("normal() is torch.randn for 100 seeds and 15 shapes") {
  const std::string file = read_file("random.safetensors");
  const auto seeds = tensor<std::int64_t>(file, "seed");
  const auto shapes = tensor<std::int64_t>(file, "shape");
  const auto heads = tensor<float>(file, "head"), tails = tensor<float>(file, "tail");
  const auto sums = tensor<float>(file, "sum"), weighted_sums = tensor<float>(file, "weighted_sum");
  REQUIRE(seeds.size() == 100);
  constexpr std::size_t edge = 24;

  for (std::size_t i = 0; i < seeds.size(); ++i) {
    std::size_t n = 1;
    for (std::size_t d = 0; d < 4; ++d) n *= static_cast<std::size_t>(shapes[4 * i + d]);
    std::vector<float> noise(n);
    TorchGenerator(static_cast<std::uint64_t>(seeds[i])).normal(noise);

    double worst = 0, worst_relative = 0, sum = 0, weighted_sum = 0;
    for (std::size_t j = 0; j < n; ++j) {
      const auto compare = [&](double torch) {
        worst = std::max(worst, std::abs(noise[j] - torch));
        worst_relative = std::max(worst_relative, std::abs(noise[j] - torch) / std::abs(torch));
      };
      if (j < edge) compare(heads[edge * i + j]);
      if (j + edge >= n) compare(tails[edge * i + edge - n + j]);
      sum += noise[j];
      weighted_sum += noise[j] * static_cast<double>(j % 7 + 1);
    }
    CAPTURE(seeds[i]);
    CAPTURE(n);
    CHECK(worst <= kTolerance);
    // The angle is torch's own float, so that also what is next to nothing is torch's: to the last place of its logarithm (of which the root
    // leaves half) and of its cosine, and the roundings of root and product, and of ours.
    CHECK(worst_relative <= 6 * 0x1p-24);
    // Each value may differ by the tolerance; the golden sums are rounded to float.
    const double count = static_cast<double>(n);
    CHECK(std::abs(sum - sums[i]) <= kTolerance * count + 0x1p-24 * std::abs(sum));
    CHECK(std::abs(weighted_sum - weighted_sums[i]) <= 7 * kTolerance * count + 0x1p-24 * std::abs(weighted_sum));
  }
}

// tests/reference/make_random_stream.py
TEST_CASE("successive calls of normal() and uniform() go on in the stream as torch's do") {
  std::istringstream lines(read_file("stream.txt"));
  TorchGenerator generator(0);
  int calls = 0;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t n = 0;
    words >> name >> n;
    REQUIRE(words);
    if (name == "seed") {
      generator = TorchGenerator(n);
      continue;
    }
    const std::vector<double> expected{std::istream_iterator<double>(words), {}};
    REQUIRE(expected.size() == n);
    CAPTURE(line);
    ++calls;
    if (name == "randn") {
      std::vector<float> values(n);
      generator.normal(values);
      for (std::size_t i = 0; i < n; ++i) CHECK(std::abs(values[i] - expected[i]) <= kTolerance);
    } else if (name == "rand") {
      for (const double x : expected) CHECK(generator.uniform() == static_cast<float>(x));
    } else {
      REQUIRE(name == "rand64");
      for (const double x : expected) CHECK(generator.uniform_double() == x);
    }
  }
  CHECK(calls == 31);
}

TEST_CASE("only the low 32 bits of a seed count, and no value is not finite") {
  std::vector<float> a(9216), b(9216);
  TorchGenerator(7).normal(a);
  TorchGenerator((std::uint64_t{5} << 32) + 7).normal(b);
  CHECK(a == b);

  // -2 log(2^-24) = 5.77^2 bounds every value of the blocked path.
  TorchGenerator generator(123);
  std::vector<float> many(1 << 20);
  generator.normal(many);
  double largest = 0, sum = 0, sum_of_squares = 0;
  for (const float x : many) {
    largest = std::max(largest, std::abs(double(x)));
    sum += x;
    sum_of_squares += double(x) * x;
  }
  CHECK(largest < 5.77);
  const double n = static_cast<double>(many.size());
  CHECK(std::abs(sum) < 5 * std::sqrt(n));                     // five standard deviations of the sum
  CHECK(std::abs(sum_of_squares - n) < 5 * std::sqrt(2 * n));  // and of the sum of squares
}
