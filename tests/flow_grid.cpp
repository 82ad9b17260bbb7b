// The time grids: their values, their order, what is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "janusflow/flow/grid.hpp"

using namespace janusflow;

TEST_CASE("uniform_grid holds i / n to the bit, from 0 to 1") {
  for (const int n : {1, 2, 3, 30, 1000}) {
    const auto grid = uniform_grid(n);
    REQUIRE(grid.size() == static_cast<std::size_t>(n) + 1);
    for (int i = 0; i <= n; ++i) CHECK(grid[static_cast<std::size_t>(i)] == static_cast<double>(i) / n);
    CHECK_NOTHROW(check_grid(grid));
  }
  CHECK_THROWS_AS(uniform_grid(0), Error);
  CHECK_THROWS_AS(uniform_grid(-3), Error);
  CHECK_THROWS_AS(uniform_grid(std::numeric_limits<int>::max()), Error);
  CHECK(uniform_grid(100000).size() == 100001);
  CHECK_THROWS_AS(uniform_grid(100001), Error);
}

TEST_CASE("shifted_grid follows the timestep shift of Stable Diffusion 3") {
  // shift * sigma / (1 + (shift - 1) * sigma) of diffusers' FlowMatchEulerDiscreteScheduler, with sigma = 1 - t
  for (const double shift : {0.25, 0.5, 1.0, 1.15, 3.0, 12.0}) {
    const int n = 20;
    const auto grid = shifted_grid(n, shift);
    REQUIRE(grid.size() == 21);
    CHECK(grid.front() == 0);
    CHECK(grid.back() == 1);
    for (std::size_t i = 0; i <= 20; ++i) {
      const double sigma = 1 - static_cast<double>(i) / n;
      CHECK(std::abs(1 - grid[i] - shift * sigma / (1 + (shift - 1) * sigma)) < 4e-16);
    }
    CHECK_NOTHROW(check_grid(grid));
  }
  CHECK(shifted_grid(4, 3) == std::vector<double>{0, 0.25 / 2.5, 0.25, 0.5, 1});
  CHECK(shifted_grid(30, 1) == uniform_grid(30));
  CHECK(shifted_grid(10, 3)[1] < 0.1);    // shorter steps near the noise
  CHECK(shifted_grid(10, 0.3)[1] > 0.1);  // longer ones
  for (const double bad : {0.0, -1.0, HUGE_VAL, std::nan(""), 1e-300}) CHECK_THROWS_AS(shifted_grid(10, bad), Error);
  CHECK_THROWS_AS(shifted_grid(0, 3), Error);
}

TEST_CASE("a grid must be two or more finite times in strict order, either way") {
  CHECK_NOTHROW(check_grid({0, 1}));
  CHECK_NOTHROW(check_grid({1, 0.5, 0}));
  CHECK_NOTHROW(check_grid({-2, 7, 7.5}));
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<std::vector<double>> bad{
      {},        {0.5},       {0, 0},           {0, 0.5, 0.5, 1},       {0, 0.6, 0.5, 1},
      {1, 0, 1}, {0, -1, -1}, {0, infinity, 1}, {0, 0.5, std::nan("")}, {infinity, 0}};
  for (const auto& grid : bad) CHECK_THROWS_AS(check_grid(grid), Error);
  CHECK_THROWS_WITH(check_grid({0, 0.6, 0.5, 1}),
                    "time grid: times must strictly increase, but time 2 is 0.5 after 0.6");
}
