// Several ranks: in which order is summed, when gradients are final, runs that are the same in company; threads stand for processes.
#include <doctest/doctest.h>

#include <barrier>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "janusflow/train/autoencoder_objective.hpp"
#include "janusflow/train/siglip_objective.hpp"
#include "training_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;
using io_testing::contains;
using io_testing::error_of;

namespace {

/// What ranks that are threads of one process share.
struct Meeting {
  explicit Meeting(int ranks) : barrier(ranks), words(static_cast<std::size_t>(ranks)), sums(words.size()) {}

  std::barrier<> barrier;
  std::vector<std::span<double>> words;
  std::span<std::byte> said;
  std::mutex mutex;
  std::vector<std::deque<std::span<float>>> sums;
  Index done = 0;
};

class ThreadRank final : public Communicator {
 public:
  ThreadRank(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int ranks() const override { return static_cast<int>(std::ssize(meeting_.words)); }

  void begin_sum(std::span<float> numbers) override {
    const std::lock_guard lock(meeting_.mutex);
    meeting_.sums[static_cast<std::size_t>(rank_)].push_back(numbers);
    ++begun_;
    if (std::any_of(meeting_.sums.begin(), meeting_.sums.end(), [](const auto& queue) { return queue.empty(); })) return;
    std::vector<float> parts, sum(numbers.size());
    for (const auto& queue : meeting_.sums) parts.insert(parts.end(), queue.front().begin(), queue.front().end());
    REQUIRE(parts.size() == numbers.size() * meeting_.sums.size());  // the same sum on every rank
    add_in_order(std::ssize(sum), sum.data(), parts.data(), ranks());
    for (auto& queue : meeting_.sums) {
      std::copy(sum.begin(), sum.end(), queue.front().begin());
      queue.pop_front();
    }
    ++meeting_.done;
  }
  Index advance() override {
    const std::lock_guard lock(meeting_.mutex);
    return begun_ - meeting_.done;
  }
  Index begun() const { return begun_; }
  void sum(std::span<double> numbers) override {
    meeting_.words[static_cast<std::size_t>(rank_)] = numbers;
    meeting_.barrier.arrive_and_wait();
    std::vector<double> total(numbers.size());
    for (const auto& word : meeting_.words)
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += word[i];
    meeting_.barrier.arrive_and_wait();
    std::copy(total.begin(), total.end(), numbers.begin());
  }
  void broadcast(std::span<std::byte> bytes, int from) override {
    if (rank_ == from) meeting_.said = bytes;
    meeting_.barrier.arrive_and_wait();
    if (rank_ != from) std::copy(meeting_.said.begin(), meeting_.said.end(), bytes.begin());
    meeting_.barrier.arrive_and_wait();
  }

 private:
  Meeting& meeting_;
  int rank_;
  Index begun_ = 0;
};

/// body(communicator) on so many ranks; returns what it gave on each. A rank that throws alone would leave the others waiting.
template <class Body>
auto on_ranks(int ranks, Body&& body) {
  Meeting meeting(ranks);
  std::vector<decltype(body(std::declval<ThreadRank&>()))> results(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      ThreadRank communicator(meeting, rank);
      results[static_cast<std::size_t>(rank)] = body(communicator);
    });
  for (std::thread& thread : threads) thread.join();
  return results;
}

const TinyRun& tiny() {
  static const TinyRun run;
  return run;
}

/// Every loss of every step, and the last weights.
struct Course {
  std::vector<double> losses;
  std::vector<float> weights;
};

template <class O>
Course course(const typename O::Config& config, Communicator& communicator = alone(), Index stop = 0) {
  Course result;
  TrainerObserver observer;
  observer.step = [&](const StepReport& report) {
    result.losses.push_back(report.losses.total);
    for (const auto& part : report.losses.parts) result.losses.push_back(part.value_or(-1));
    return report.total_steps != stop;
  };
  Trainer<O> trainer(config, observer, communicator);
  trainer.resume();
  trainer.run();
  result.weights = weights_of(trainer);
  return result;
}

/// A model's run alone, and on two and three ranks: losses agree, and the weights of all ranks are the same bits.
template <class O, class Read>
void check_company(Json json, Read&& read) {
  json.erase("muon");  // which rounds to bfloat16 on the way
  json["checkpoints"]["every"] = 100;
  json["output"] = json["output"].get<std::string>() + "1";
  const Course one = course<O>(read(json));
  REQUIRE(one.losses.size() >= 15);
  for (const int ranks : {2, 3}) {
    CAPTURE(ranks);
    json["output"].get_ref<std::string&>().back() = static_cast<char>('0' + ranks);
    const auto all = on_ranks(ranks, [&](Communicator& communicator) { return course<O>(read(json), communicator); });
    for (const Course& rank : all) {
      CHECK(rank.weights == all[0].weights);
      CHECK(rank.losses == all[0].losses);
      REQUIRE(rank.losses.size() == one.losses.size());
      for (std::size_t i = 0; i < one.losses.size(); ++i) {
        CAPTURE(i);
        CHECK(rank.losses[i] == doctest::Approx(one.losses[i]).epsilon(1e-5));
      }
    }
  }
}

AutoencoderTrainingConfig autoencoder(const Json& json) {
  return AutoencoderTrainingConfig::from_json(JsonObject(json, "train.json"), tiny().folder().path());
}
SiglipTrainingConfig siglip(const Json& json) {
  return SiglipTrainingConfig::from_json(JsonObject(json, "train.json"), tiny().folder().path());
}

Json simple(const std::string& kind, const std::string& model) {
  return {{"train", kind}, {"model", model}, {"manifest", "train.jsonl"}, {"output", kind}, {"seed", 3}, {"from_scratch", {"*"}},
          {"augmentation", {{"shift", 1}}}, {"checkpoints", {{"every", 100}}},
          {"stages",
           {{{"name", "all"}, {"trains", {"*"}}, {"learning_rate", 1e-4}, {"warmup_steps", 1}, {"steps", 6}, {"batch_size", 5}}}}};
}

/// Learns one step alone and checks of every gradient that is announced that it is final: once for each parameter.
template <class O>
void check_finality(const typename O::Config& config, Index fewest) {
  const Manifest manifest(config.manifest);
  O objective(config, manifest, alone());
  const Stage& stage = config.stages.back();
  const auto tensors = enter_stage(objective.module(), stage, O::stays_frozen);
  REQUIRE(objective.prepare(stage, tensors, [](const std::string&, double) { return true; }));
  const auto parameters = training_parameters(objective.module());
  std::map<const void*, std::vector<float>> announced;
  objective.learn(stage.samples_before(0), stage.samples_before(1), [&](Tape& tape) {
    tape.after_operation = [&](std::span<const void* const> ids) {
      for (const void* id : ids) {
        const auto which = std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.gradient_id() == id; });
        REQUIRE(which != parameters.end());
        const auto gradient = which->gradient();
        const auto [place, first] = announced.try_emplace(id, gradient.data, gradient.data + (gradient.data ? which->size() : 0));
        CHECK(first);
      }
    };
  });
  Index with_gradient = 0;
  for (const auto& parameter : parameters) {
    const auto gradient = parameter.gradient();
    if (!gradient.data) continue;
    ++with_gradient;
    REQUIRE(announced.contains(parameter.gradient_id()));
    CHECK(announced[parameter.gradient_id()] == std::vector<float>(gradient.data, gradient.data + parameter.size()));
  }
  CHECK(with_gradient >= fewest);
}

}  // namespace

TEST_CASE("ranks: numbers are added up from the left, stretches and samples dealt out whole") {
  const float parts[] = {1e8f, 1, /**/ 4, 2, /**/ -1e8f, 3};
  float sums[2];
  add_in_order(2, sums, parts, 3);
  CHECK(sums[0] == (1e8f + 4) - 1e8f);
  CHECK(sums[0] != 4);  // as another order has it
  CHECK(sums[1] == 6);

  const std::vector<Index> lengths{5, 9, 1, 7, 7, 3};
  std::vector<std::size_t> dealt;
  for (int rank = 0; rank < 4; ++rank) {
    const auto own = deal_out(lengths, rank, 4);
    Index tokens = 0;
    for (const std::size_t i : own) tokens += lengths[i];
    CHECK(tokens >= 7);
    CHECK(tokens <= 9);
    dealt.insert(dealt.end(), own.begin(), own.end());
  }
  std::sort(dealt.begin(), dealt.end());
  CHECK(dealt == std::vector<std::size_t>{0, 1, 2, 3, 4, 5});
  CHECK(deal_out(lengths, 0, 1) == dealt);
  CHECK(deal_out(std::vector<Index>{4}, 1, 2).empty());

  const auto ends = on_ranks(3, [](Communicator& communicator) { return own_part(communicator, 10, 15); });
  CHECK(ends == std::vector<std::pair<Index, Index>>{{10, 11}, {11, 13}, {13, 15}});
}

TEST_CASE("ranks: what one finds, all throw; what differs is named") {
  const auto sentences = on_ranks(3, [](Communicator& communicator) {
    try {
      together(communicator, [&] { require(communicator.rank() == 0, "no room on rank ", communicator.rank()); });
    } catch (const SharedError& error) {
      return std::string(error.what());
    }
    return std::string();
  });
  CHECK(sentences == std::vector<std::string>(3, "no room on rank 1"));
  const auto others = on_ranks(3, [](Communicator& communicator) {
    require_same(communicator, 0xfedcba9876543210u, "", "");
    return error_of([&] { require_same(communicator, communicator.rank() == 2 ? 1 : 2, "after step 7: ", "other weights"); });
  });
  CHECK(others == std::vector<std::string>(3, "after step 7: rank 2 has other weights than rank 0"));
  CHECK(error_of([] { together(alone(), [] { fail("as it is"); }); }) == "as it is");
}

TEST_CASE("tape: a gradient is announced once, behind the operation that was the first to use it") {
  for (const bool blocks : {false, true}) {
    CAPTURE(blocks);
    Parameter<float, 1> a(Shape{Index{4}}, 1), b(Shape{Index{4}}, 2), frozen(Shape{Index{4}}, 3), unused(Shape{Index{4}}, 4);
    frozen.set_trains(false);
    std::vector<const void*> order;
    std::vector<float> values;
    Tape tape;
    tape.after_operation = [&](std::span<const void* const> ids) {
      order.insert(order.end(), ids.begin(), ids.end());
      for (const void* id : ids) values.push_back((id == a.gradient_id() ? a : b).gradient()(0));
    };
    const auto square = [&](const Var<float, 2>& x) { return rms_norm(x, b, 1e-6f) + reshape(a, Shape{Index{1}, Index{4}}); };
    const Var<float, 2> x(Tensor<float, 2>(Shape{Index{1}, Index{4}}, 1.0f));
    const auto first = rms_norm(x, frozen, 1e-6f) + rms_norm(x, a, 1e-6f);  // a for the first time
    const auto second = blocks ? checkpoint(square, first) : square(first);  // a again
    const auto third = second + rms_norm(second, b, 1e-6f);                  // b again
    tape.backward(third, Tensor<float, 2>(third.shape(), 1.0f));
    CHECK(order == std::vector<const void*>{b.gradient_id(), a.gradient_id()});
    REQUIRE(values.size() == 2);
    CHECK(values[0] == b.gradient()(0));
    CHECK(values[1] == a.gradient()(0));
    CHECK(!unused.gradient().data);
  }
}

TEST_CASE("tape: gradients of all models are final when they are announced") {
  for (const bool recompute : {false, true}) {
    CAPTURE(recompute);
    Json json = tiny().config("final");
    json["recompute"] = recompute;
    check_finality<JanusFlowObjective<>>(tiny().read(json), 100);
    json = simple("autoencoder", JANUSFLOW_TEST_DATA "/training/autoencoder");
    json["recompute"] = recompute;
    check_finality<AutoencoderObjective<>>(autoencoder(json), 50);
    json = simple("siglip", ".");
    json["recompute"] = recompute;
    check_finality<SiglipObjective<>>(siglip(json), 20);
  }
}

TEST_CASE("ranks: gradients are sent while the tape goes back, in an order that is learned, and are sums on every rank") {
  const auto sent = on_ranks(2, [](ThreadRank& communicator) {
    Parameter<float, 1> a(Shape{Index{4}}, 1), b(Shape{Index{4}}, 1), c(Shape{Index{4}}, 1);
    const auto flat = [](auto& parameter) { return parameter.reshaped(Shape{Index{4}}); };
    GradientSum sum(communicator, {flat(c), flat(a), flat(b)}, 4);  // not the order of the computation
    std::vector<Index> sent;  // buckets, after each operation
    for (int step = 0; step < 2; ++step) {
      for (auto* parameter : {&a, &b, &c}) parameter->clear_gradient();
      const Var<float, 2> x(Tensor<float, 2>(Shape{Index{1}, Index{4}}, 1.0f));
      Tape tape;
      sum.watch(tape);
      tape.after_operation = [&, send = tape.after_operation](std::span<const void* const> ids) {
        send(ids);
        sent.push_back(communicator.begun() - 3 * step);
      };
      const auto y = rms_norm(rms_norm(rms_norm(x, b, 0), a, 0), c, 0);
      tape.backward(y, Tensor<float, 2>(y.shape(), communicator.rank() == 0 ? 1.0f : 2.0f));
      sum.finish();
      sent.push_back(static_cast<Index>(c.gradient()(0)));
    }
    return sent;
  });
  // At first b is expected first, and is the last to be final.
  for (const auto& rank : sent) CHECK(rank == std::vector<Index>{0, 0, 3, /*1 + 2*/ 3, 1, 2, 3, 3});
}

TEST_CASE("ranks: a run in company is the run alone, but for the rounding of sums") {
  const int before = num_threads();
  set_num_threads(1);
  Json json = tiny().config("janusflow", 2);
  for (Json& stage : json["stages"]) stage["learning_rate"] = 1e-4;
  check_company<JanusFlowObjective<>>(json, [](const Json& j) { return tiny().read(j); });
  check_company<AutoencoderObjective<>>(simple("autoencoder", JANUSFLOW_TEST_DATA "/training/autoencoder"), autoencoder);
  check_company<SiglipObjective<>>(simple("siglip", "."), siglip);
  set_num_threads(before);
}

TEST_CASE("ranks: a run that is stopped goes on to the same bits on as many ranks, and may go on on others") {
  const int before = num_threads();
  set_num_threads(1);
  const auto run = [](const char* output, int ranks, Index stop = 0) {
    return on_ranks(ranks, [&](Communicator& communicator) {
      return course<JanusFlowObjective<>>(tiny().read(tiny().config(output, 2)), communicator, stop);
    })[0];
  };
  const Course whole = run("whole", 2);
  run("apart", 2, 3);
  CHECK(run("apart", 2).weights == whole.weights);
  run("elsewhere", 2, 3);
  const Course other = run("elsewhere", 3);
  CHECK(other.losses.size() == 3 * 4);
  CHECK(other.losses.back() == doctest::Approx(whole.losses.back()).epsilon(1e-3));  // Muon's products are bfloat16
  set_num_threads(before);
}

TEST_CASE("ranks: several write into one cache, each files of its own, and read each other's") {
  const auto directory = tiny().folder().path() / "shared_cache";
  FeatureCache first(directory, "latents", 1, 2, 8, 0), second(directory, "latents", 1, 2, 8, 1);  // a row a part
  for (std::uint64_t picture = 0; picture < 6; ++picture) {
    const float row[] = {static_cast<float>(picture), 1};
    (picture < 4 ? first : second).add(picture, row);
  }
  second.refresh();
  second.refresh();
  CHECK(second.count() == 6);
  float row[2];
  second.copy(3, row);
  CHECK(row[0] == 3);
  std::map<std::string, int> written;  // by each
  for (const auto& path : paths_in(directory)) ++written[path.filename().string().substr(path.filename().string().rfind('-'))];
  CHECK(written == std::map<std::string, int>{{"-000000.safetensors", 4}, {"-000001.safetensors", 2}});
}
