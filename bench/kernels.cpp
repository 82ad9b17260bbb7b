// kernels: the heaviest operations at JanusFlow-1.3B's shapes, in FLOP/s or bytes/s and as a share of what the machine can do at most.
#include <benchmark/benchmark.h>

#include "exit_status.hpp"
#include "janusflow/core/cache.hpp"
#include "janusflow/nn/layers.hpp"
#include "janusflow/nn/random_weights.hpp"
#include "peak.hpp"

using namespace janusflow;

namespace {

template <int R>
Tensor<float, R> filled(Shape<R> shape) {
  Tensor<float, R> x(shape);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(i % 257) / 128.0f - 1.0f;
  return x;
}

template <class Parameter>
Parameter randomized(Parameter parameter) {
  detail::randomize(parameter, detail::RandomPool(1), 1);
  return parameter;
}

/// Calls f over and over; `work` is what one call has to do, in FLOP or bytes, and `peak` the most of it in a second, 0 where that is not
/// known.
template <class F>
void run(benchmark::State& state, const char* unit, double work, double peak, F&& f) {
  double seconds = 0;
  for (auto _ : state) {
    const Stopwatch watch;
    f();
    const double once = watch.seconds();
    state.SetIterationTime(once);
    seconds += once;
  }
  const double rate = work * static_cast<double>(state.iterations()) / seconds;
  state.counters[unit] = rate / 1e9;
  if (peak > 0) state.counters["of_peak"] = rate / peak;
}

/// The most that memory gives; 0 for so few bytes that they stay in the last cache from call to call.
double read_peak(double bytes) {
  if (bytes <= static_cast<double>(last_cache_bytes())) return 0;
  static const double bandwidth = [] {
    double best = 0;
    {
      const Tensor<float, 1> block = bench::bandwidth_block();
      for (int attempt = 0; attempt < 4; ++attempt) best = std::max(best, bench::read_bandwidth(block));
    }
    BufferPool::instance().release();
    return best;
  }();
  return bandwidth;
}
template <class Dot>
double flop_peak() {
  static const double flops = bench::peak_flops<Dot>();
  return flops;
}

/// y [m, n] = x [m, k] . wT
template <class Dot>
void product(benchmark::State& state) {
  const Index m = state.range(0), n = state.range(1), k = state.range(2);
  const auto weight = randomized(PackedMatrix<Dot>(n, k));
  const auto x = filled(Shape{m, k});
  run(state, "GFLOP/s", 2.0 * static_cast<double>(m * n * k), flop_peak<Dot>(), [&] { linear(x, weight); });
}

/// The same with one row: the weights are read once.
template <class Dot>
void matrix_vector(benchmark::State& state) {
  const auto weight = randomized(PackedMatrix<Dot>(state.range(0), state.range(1)));
  const auto x = filled(Shape{Index{1}, state.range(1)});
  const auto bytes = static_cast<double>(weight.storage().size_bytes());
  run(state, "GB/s", bytes, read_peak(bytes), [&] { linear(x, weight); });
}

/// x + the second layer of what follows the first: a transformer's feed-forward, rows [m, k], `hidden` between, gated or by GELU.
template <class Dot>
void feed_forward(benchmark::State& state) {
  const Index m = state.range(0), k = state.range(1), hidden = state.range(2);
  const bool gated = state.range(3) != 0;
  using Matrix = PackedMatrix<Dot>;
  const auto first = randomized(Matrix(hidden, k)), up = gated ? randomized(Matrix(hidden, k)) : Matrix(), second = randomized(Matrix(k, hidden));
  const Tensor<float, 1> bias(Shape{hidden}, 0.1f);
  const auto x = filled(Shape{m, k});
  run(state, "GFLOP/s", (gated ? 6.0 : 4.0) * static_cast<double>(m * hidden * k), flop_peak<Dot>(), [&] {
    if (gated) linear(swiglu_for<Matrix>(x, first, up), second, {}, Add{x});
    else linear(linear_for<Matrix>(x, first, bias, Gelu{}), second, {}, Add{x});
  });
}

/// One sequence; `heads` of `dim`. Half of the products where causal.
template <class Dot>
void attend(benchmark::State& state) {
  const Index tokens = state.range(0), heads = state.range(1), dim = state.range(2);
  const bool causal = state.range(3) != 0;
  const auto x = filled(Shape{Index{1}, tokens, heads * dim});
  const double work = 4.0 * static_cast<double>(tokens * tokens * heads * dim) / (causal ? 2 : 1);
  run(state, "GFLOP/s", work, flop_peak<Dot>(), [&] { attention<Dot>(x, x, x, heads, heads, {causal, {}}); });
}

/// 3x3 on side x side pixels.
template <class Dot>
void convolution(benchmark::State& state) {
  const Index side = state.range(0), in = state.range(1), out = state.range(2);
  const auto filter = randomized(PackedFilter<Dot>(out, in, 3));
  const auto x = filled(Shape{Index{1}, side, side, in});
  const Tensor<float, 1> bias(Shape{out}, 0.1f);
  run(state, "GFLOP/s", 18.0 * static_cast<double>(side * side * in * out), flop_peak<Dot>(),
      [&] { conv2d(x, filter, bias, ConvGeometry::same(3)); });
}

/// Doubling, then 3x3, counted as the 9 products a pixel that the folded kernels make 4 of.
template <class Dot>
void upsampling(benchmark::State& state) {
  const Index side = state.range(0), channels = state.range(1);
  const auto filter = randomized(UpsampleFilter<Dot>(channels, channels, 3));
  const auto x = filled(Shape{Index{1}, side, side, channels});
  const Tensor<float, 1> bias(Shape{channels}, 0.1f);
  run(state, "GFLOP/s", 72.0 * static_cast<double>(side * side * channels * channels), flop_peak<Dot>(),
      [&] { upsample_conv2d(x, filter, bias); });
}

void depthwise(benchmark::State& state) {
  const Index side = 24, channels = 768;
  const auto filter = randomized(DepthwiseFilter<float>(channels, 7));
  const auto x = filled(Shape{Index{2}, side, side, channels});
  const Tensor<float, 1> bias(Shape{channels}, 0.1f);
  run(state, "GFLOP/s", 98.0 * static_cast<double>(x.size()), flop_peak<simd::Float32Dot>(), [&] { depthwise_conv2d(x, filter, bias); });
}

/// Operations that read a tensor once and write one: twice its bytes.
template <class F>
void elementwise(benchmark::State& state, const Tensor<float, 4>& x, F&& f) {
  const double bytes = 2.0 * sizeof(float) * static_cast<double>(x.size());
  run(state, "GB/s", bytes, read_peak(bytes), [&] { benchmark::DoNotOptimize(f(x)); });
}
const Tensor<float, 4>& states() {  // two rows of a guided step
  static const auto x = filled(Shape{Index{1}, Index{2}, Index{577}, Index{2048}});
  return x;
}
const Tensor<float, 4>& picture() {
  static const auto x = filled(Shape{Index{1}, Index{384}, Index{384}, Index{128}});
  return x;
}
void norm_rms(benchmark::State& s) {
  const Tensor<float, 1> ones(Shape{Index{2048}}, 1.0f);
  elementwise(s, states(), [&](const auto& x) { return rms_norm(x, ones, 1e-6f); });
}
void norm_layer(benchmark::State& s) {
  const Tensor<float, 1> ones(Shape{Index{2048}}, 1.0f);
  elementwise(s, states(), [&](const auto& x) { return layer_norm(x, ones, ones, 1e-6f); });
}
void norm_group_silu(benchmark::State& s) {
  const Tensor<float, 1> ones(Shape{Index{128}}, 1.0f);
  elementwise(s, picture(), [&](const auto& x) { return group_norm_silu(x, ones, ones, 32, 1e-6f); });
}
void activation_gelu(benchmark::State& s) { elementwise(s, states(), [](const auto& x) { return gelu(x); }); }
void activation_silu(benchmark::State& s) { elementwise(s, states(), [](const auto& x) { return silu(x); }); }
void response_norm(benchmark::State& s) {
  static const auto x = filled(Shape{Index{2}, Index{24}, Index{24}, Index{3072}});
  const Tensor<float, 1> ones(Shape{Index{3072}}, 1.0f);
  elementwise(s, x, [&](const auto& h) { return global_response_norm(h, ones, ones); });
}

template <class Dot>
void register_policy(const std::string& name) {
  const auto add = [&](const std::string& op, auto* f) { return benchmark::RegisterBenchmark((op + '/' + name).c_str(), f)->UseManualTime(); };
  add("linear", product<Dot>)->Args({1154, 5632, 2048})->Args({1154, 2048, 5632})->Args({577, 2048, 2048})->Args({576, 4096, 1024})->Args({576, 1024, 4096});
  add("feed_forward", feed_forward<Dot>)->Args({1154, 2048, 5632, 1})->Args({576, 1024, 4096, 0});
  add("linear_one_row", matrix_vector<Dot>)->Args({5632, 2048})->Args({2048, 5632})->Args({102400, 2048});
  if constexpr (!Dot::quantised) {
    add("attention", attend<Dot>)->Args({577, 16, 128, 1})->Args({576, 16, 64, 0})->Args({2304, 1, 512, 0});
    add("conv2d", convolution<Dot>)->Args({48, 512, 512})->Args({96, 512, 512})->Args({192, 256, 256})->Args({384, 128, 128});
    add("upsample_conv2d", upsampling<Dot>)->Args({48, 512})->Args({96, 512})->Args({192, 256});
  }
}

}  // namespace

int main(int argc, char** argv) {
  register_policy<simd::Float32Dot>("f32");
  register_policy<simd::BFloat16Dot>("bf16");
  register_policy<simd::Int8Dot>("int8");
  const std::pair<const char*, void (*)(benchmark::State&)> others[] = {
      {"depthwise_conv2d", depthwise}, {"rms_norm", norm_rms},   {"layer_norm", norm_layer}, {"group_norm_silu", norm_group_silu},
      {"gelu", activation_gelu},       {"silu", activation_silu}, {"global_response_norm", response_norm}};
  for (const auto& [name, f] : others) benchmark::RegisterBenchmark(name, f)->UseManualTime();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  std::size_t matched = 0;
  const int status = bench::exit_status("kernels", [&] { matched = benchmark::RunSpecifiedBenchmarks(); });
  return status == 0 && matched == 0 ? 2 : status;  // which it has said itself
}
