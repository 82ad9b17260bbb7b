// The optimiser against torch's, its determinism, frozen tensors, and what it refuses.
#include "golden.hpp"
#include "io_testing.hpp"
#include "janusflow/train/optimizer.hpp"
#include "janusflow/train/schedule.hpp"

using namespace janusflow;
using io_testing::contains;
using io_testing::error_of;

namespace {

const test::Golden& golden() {
  static const test::Golden file(JANUSFLOW_TEST_DATA "/train/optimizer.safetensors");
  return file;
}

/// Tensors with their numbers and gradients.
struct Model {
  std::vector<std::vector<float>> values, gradients;
  std::vector<TrainedTensor> tensors;

  void add(std::string name, std::vector<Index> shape) {
    const auto size = static_cast<std::size_t>(checked_product(shape));
    values.emplace_back(size);
    gradients.emplace_back(size);
    tensors.push_back({std::move(name), std::move(shape), {}, {}});
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      tensors[i].value = values[i];
      tensors[i].gradient = gradients[i];
    }
  }
};

std::vector<float> numbers(const std::string& key) {
  const SafetensorsFile file(JANUSFLOW_TEST_DATA "/train/optimizer.safetensors");
  const RawTensor& raw = file.at(key);
  std::vector<float> values(static_cast<std::size_t>(raw.size()));
  raw.copy_to(values.data());
  return values;
}

std::string key_of(std::size_t i, const std::string& what) { return "x." + std::to_string(i) + "." + what; }

Model golden_model() {
  Model model;
  const std::vector<std::vector<Index>> shapes{{1}, {37}, {3, 5}, {130, 7}};
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    model.add("x." + std::to_string(i), shapes[i]);
    std::ranges::copy(numbers(key_of(i, "start")), model.values[i].begin());
  }
  return model;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return largest;
}

/// A model with enough numbers for several pieces, two matrices among them, and gradients that depend on the step.
Model large_model() {
  Model model;
  model.add("a", {70000});
  model.add("b", {48, 96});
  model.add("c", {96, 48});
  model.add("d", {5});
  std::uint32_t state = 1;
  for (auto& values : model.values)
    for (float& x : values) x = static_cast<float>(static_cast<std::int32_t>(state = state * 1664525u + 1013904223u)) * 0x1p-31f;
  return model;
}
void set_gradients(Model& model, int step) {
  for (std::size_t i = 0; i < model.values.size(); ++i)
    for (std::size_t j = 0; j < model.values[i].size(); ++j)
      model.gradients[i][j] = 0.1f * model.values[i][j] + 0.01f * std::sin(static_cast<float>(j) + static_cast<float>(step));
}

}  // namespace

TEST_CASE("AdamW, clipping and the average follow torch") {
  struct Case {
    const char* name;
    double decay, clip;
  };
  for (const Case& c : {Case{"plain", 0.0, 1.0}, Case{"decay", 0.1, 1e9}}) {
    CAPTURE(c.name);
    Model model = golden_model();
    OptimizerSettings settings;
    settings.adamw.weight_decay = c.decay;
    settings.clip = c.clip;
    Optimizer optimizer(model.tensors, settings);
    for (int step = 0; step < 6; ++step) {
      for (std::size_t i = 0; i < 4; ++i)
        std::ranges::copy(numbers(key_of(i, "gradient." + std::to_string(step))), model.gradients[i].begin());
      const double norm = optimizer.step(model.tensors, 3e-3, 1.0);
      CHECK(norm == doctest::Approx(static_cast<double>(numbers("norm." + std::to_string(step))[0])).epsilon(1e-6));
      for (std::size_t i = 0; i < 4; ++i) {
        // Values are of order one; a step is 3e-3 at most, worked out with about ten roundings.
        CHECK(largest_difference(model.values[i], numbers(key_of(i, c.name + ("." + std::to_string(step))))) < 4e-7 * (step + 1));
        if (c.decay == 0.0)
          CHECK(largest_difference(optimizer.states()[i].average, numbers("ema." + std::to_string(i) + "." + std::to_string(step))) <
                4e-7 * (step + 1));
      }
    }
  }
}

TEST_CASE("Muon's update is the reference iteration, and its singular values are about one") {
  for (const char* name : {"square", "tall", "wide"}) {
    CAPTURE(name);
    const auto gradient = golden().tensor<2>(std::string("muon.") + name + ".gradient");
    const auto update = golden().tensor<2>(std::string("muon.") + name + ".update");
    // Fifteen products, each of which may lose K eps of what it sums.
    CHECK(test::relative_error(orthogonalized<simd::Float32Dot>(gradient.view()), update) < 1e-4);
    CHECK(test::relative_error(orthogonalized(gradient.view()), update) < 0.1);
  }
  Tensor<float, 2> nothing(Shape{4, 3}, 0.0f);
  for (const float x : orthogonalized(std::as_const(nothing).view())) CHECK(x == 0.0f);
}

TEST_CASE_TEMPLATE("half of a product of rows with themselves is the whole, to the last bit", Dot, simd::Float32Dot, simd::BFloat16Dot) {
  for (const Shape<2>& shape : {Shape<2>{{1, 3}}, {{7, 5}}, {{70, 33}}, {{8 * simd::tile_rows, 20}}, {{203, 64}}, {{33, 2000}}}) {
    Tensor<float, 2> x(shape);
    TorchGenerator(5).normal({x.data(), static_cast<std::size_t>(x.size())});
    PackedMatrix<Dot> same(shape[0], shape[1]);
    same.pack(std::as_const(x).view());
    CHECK(std::ranges::equal(detail::gram(x, same), linear(x, same)));
  }
}

TEST_CASE("a step does not depend on the number of threads") {
  std::vector<std::vector<std::vector<float>>> results;
  const int before = num_threads();
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Model model = large_model();
    Optimizer optimizer(model.tensors, {}, {false, true, true, false});
    for (int step = 0; step < 3; ++step) {
      set_gradients(model, step);
      optimizer.step(model.tensors, 1e-2, 1.0);
    }
    auto result = model.values;
    for (const TensorState& state : optimizer.states()) result.push_back(state.average);
    results.push_back(std::move(result));
  }
  set_num_threads(before);
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
  CHECK(results[0] != large_model().values);
}

TEST_CASE("a frozen tensor keeps its bytes and costs no memory") {
  Model model = large_model();
  const auto start = model.values;
  Optimizer optimizer(model.tensors, {}, {false, true, true, false});
  model.tensors[0].trains = model.tensors[1].trains = false;
  model.tensors[0].gradient = {};
  set_gradients(model, 0);
  model.gradients[1][3] = std::numeric_limits<float>::quiet_NaN();  // nobody asks
  optimizer.step(model.tensors, 1e-2, 1.0);
  CHECK(model.values[0] == start[0]);
  CHECK(model.values[1] == start[1]);
  CHECK(model.values[2] != start[2]);
  CHECK(model.values[3] != start[3]);
  for (const std::size_t i : {0u, 1u}) {
    CHECK(optimizer.states()[i].first.empty());
    CHECK(optimizer.states()[i].average.empty());
    CHECK(optimizer.states()[i].steps == 0);
  }
}

TEST_CASE("a matrix without gradient stays where it is, whatever Muon's momentum") {
  Model model = large_model();
  Optimizer optimizer(model.tensors, {}, {false, true, true, false});
  for (int step = 0; step < 3; ++step) {
    set_gradients(model, step);
    optimizer.step(model.tensors, 1e-2, 1.0);
  }
  const auto values = model.values;
  const auto momentum = optimizer.states()[1].first;
  set_gradients(model, 3);
  std::ranges::fill(model.gradients[1], 0.0f);
  optimizer.step(model.tensors, 1e-2, 1.0);
  CHECK(model.values[1] == values[1]);
  CHECK(optimizer.states()[1].first == momentum);
  CHECK(model.values[2] != values[2]);
}

TEST_CASE("the average of a tensor that is frozen later goes on, and comes to its weights") {
  Model model = large_model();
  OptimizerSettings settings;
  settings.ema_decay = 0.5;
  Optimizer optimizer(model.tensors, settings);
  for (int step = 0; step < 3; ++step) {
    set_gradients(model, step);
    optimizer.step(model.tensors, 1e-2, 1.0);
  }
  CHECK(largest_difference(optimizer.states()[0].average, model.values[0]) > 1e-3);
  model.tensors[0].trains = false;
  model.tensors[0].gradient = {};
  for (int step = 3; step < 33; ++step) {
    set_gradients(model, step);
    optimizer.step(model.tensors, 1e-2, 1.0);
  }
  CHECK(largest_difference(optimizer.states()[0].average, model.values[0]) < 1e-6);
}

TEST_CASE("an average moves by 1 - decay, however near to one the decay is") {
  Model model;
  model.add("a", {1});
  OptimizerSettings settings;
  settings.ema_decay = 0.99999999;  // 1 as a float
  Optimizer optimizer(model.tensors, settings);
  model.gradients[0][0] = 1;
  optimizer.step(model.tensors, 1.0, 1.0);
  CHECK(model.values[0][0] == doctest::Approx(-1).epsilon(1e-6));
  CHECK(1e8f * optimizer.states()[0].average[0] == doctest::Approx(-1).epsilon(1e-6));
}

TEST_CASE("a step is as long as its rates and factors say, whichever method makes it") {
  const auto moved = [](double rate, double factor, float of_tensor) {
    Model model = large_model();
    const auto start = model.values;
    for (TrainedTensor& tensor : model.tensors) tensor.rate_factor = of_tensor;
    Optimizer optimizer(model.tensors, {}, {false, true, true, false});
    set_gradients(model, 0);
    optimizer.step(model.tensors, rate, factor);
    return std::pair(largest_difference(model.values[0], start[0]), largest_difference(model.values[1], start[1]));
  };
  const auto whole = moved(1e-2, 1, 1);
  for (const auto& half : {moved(1e-2, 0.5, 1), moved(1e-2, 1, 0.5f)}) {  // of numbers below one, whose roundings are 1e-5 of a step
    CHECK(half.first == doctest::Approx(whole.first / 2).epsilon(1e-4));
    CHECK(half.second == doctest::Approx(whole.second / 2).epsilon(1e-4));
  }
  CHECK(moved(5e-3, 1, 1).second == whole.second);  // Muon has a rate of its own
}

TEST_CASE("Muon's momentum is Nesterov's, of clipped gradients, and its steps are longer for tall matrices alone") {
  for (const Shape<2> shape : {Shape{Index{6}, Index{24}}, Shape{Index{24}, Index{6}}}) {
    CAPTURE(shape[0]);
    const auto size = static_cast<std::size_t>(shape.size());
    std::vector<float> value(size), gradient(size), momentum(size);
    Tensor<float, 2> ahead(shape);
    std::vector<double> expected(size);
    for (std::size_t i = 0; i < size; ++i) {
      gradient[i] = std::sin(static_cast<float>(i)), momentum[i] = std::cos(3 * static_cast<float>(i));
      const double g = 0.5 * static_cast<double>(gradient[i]), before = static_cast<double>(momentum[i]);
      expected[i] = 0.9 * before + 0.1 * g;
      ahead.data()[i] = static_cast<float>(0.1 * g + 0.9 * expected[i]);
    }
    muon<simd::Float32Dot>(shape, value.data(), gradient.data(), momentum.data(), {.momentum = 0.9}, 0.1, 0.5);
    const auto update = orthogonalized<simd::Float32Dot>(std::as_const(ahead).view());
    const double rate = 0.1 * (shape[0] == 24 ? 2 : 1);  // sqrt(24 / 6)
    for (std::size_t i = 0; i < size; ++i) {
      CHECK(std::abs(static_cast<double>(momentum[i]) - expected[i]) < 4e-7);
      // The iteration enlarges a rounding of what it is given by 485 at most.
      CHECK(std::abs(static_cast<double>(value[i]) + rate * static_cast<double>(update.data()[i])) < rate * 485 * 1.2e-7 * 4);
    }
  }
  Model model = large_model();
  OptimizerSettings clipped;
  clipped.clip = 0.01;
  Optimizer optimizer(model.tensors, clipped, {false, true, true, false});
  set_gradients(model, 0);
  const double norm = optimizer.step(model.tensors, 1e-2, 1.0);
  CHECK(norm > 1);
  CHECK(optimizer.states()[1].first[7] == doctest::Approx(0.05 * 0.01 / norm * static_cast<double>(model.gradients[1][7])).epsilon(1e-5));
}

TEST_CASE("a rate of zero changes nothing but the moments") {
  Model model = large_model();
  const auto start = model.values;
  model.tensors[1].rate_factor = 0;
  Optimizer optimizer(model.tensors, {}, {false, true, false, false});
  set_gradients(model, 0);
  optimizer.step(model.tensors, 1e-2, 1.0);
  CHECK(model.values[1] == start[1]);
  CHECK(model.values[0] != start[0]);
}

TEST_CASE("NaN and infinity stop the step, by name, before anything changes") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Model model = large_model();
    const auto start = model.values;
    Optimizer optimizer(model.tensors, {});
    set_gradients(model, 0);
    model.gradients[2][77] = bad;
    CHECK(error_of([&] { optimizer.step(model.tensors, 1e-2, 1.0); }) == "the gradient of c holds NaN or infinity");
    CHECK(model.values == start);
  }
  Model model = large_model();
  Optimizer optimizer(model.tensors, {});
  set_gradients(model, 0);
  model.gradients[0][1] = 1e30f;  // its square is no float
  CHECK(optimizer.step(model.tensors, 1e-2, 1.0) == doctest::Approx(1e30).epsilon(1e-6));
  set_gradients(model, 0);
  model.values[1][5] = std::numeric_limits<float>::infinity();
  model.gradients[1][5] = 0;
  CHECK(error_of([&] { optimizer.step(model.tensors, 1e-2, 1.0); }) == "b holds NaN or infinity");
  model.tensors[3].gradient = model.tensors[3].gradient.first(2);
  CHECK(contains(error_of([&] { optimizer.step(model.tensors, 1e-2, 1.0); }), "d has 5 numbers but 2 gradients"));
  CHECK(contains(error_of([&] { Optimizer(model.tensors, {}, {true}); }), "a [70000] is no matrix"));
}

TEST_CASE("the schedule warms up, holds, and falls where it is told to") {
  const Schedule constant{.steps = 100, .warmup_steps = 10};
  CHECK(constant.factor(0) == doctest::Approx(0.1));
  CHECK(constant.factor(9) == 1.0);
  CHECK(constant.factor(99) == 1.0);
  const Schedule linear{.steps = 100, .warmup_steps = 0, .decay = Decay::linear, .decay_steps = 49};
  CHECK(linear.factor(50) == 1.0);
  CHECK(linear.factor(51) == doctest::Approx(0.98));
  CHECK(linear.factor(99) == doctest::Approx(0.02));
  const Schedule cosine{.steps = 100, .warmup_steps = 5, .decay = Decay::cosine, .decay_steps = 99, .floor = 0.1};
  CHECK(cosine.factor(0) == doctest::Approx(0.2));
  CHECK(cosine.factor(50) == doctest::Approx(0.55));
  for (Index step = 6; step < 100; ++step) CHECK(cosine.factor(step) < cosine.factor(step - 1));
  CHECK(cosine.factor(99) > 0.1);
  const Schedule both{.steps = 10, .warmup_steps = 10, .decay = Decay::linear, .decay_steps = 9, .floor = 0.5};
  CHECK(both.factor(4) == doctest::Approx(0.5 * (0.5 + 0.5 * 0.6)));  // at once
}
