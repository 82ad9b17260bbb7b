// Checkpoints of a run, its log and its curves: what is saved comes back, and what goes wrong loses nothing.
#include <doctest/doctest.h>

#if defined(__unix__)
#include <sys/resource.h>

#include <csignal>
#endif

#include <set>

#include "io_testing.hpp"
#include "janusflow/train/publish.hpp"
#include "janusflow/train/run_lock.hpp"
#include "janusflow/train/training_log.hpp"
#include "janusflow/train/training_state.hpp"

using namespace janusflow;
using io_testing::contains;
using io_testing::error_of;
using io_testing::Folder;

namespace {

/// Three tensors in training: one by AdamW, one by Muon, one frozen.
struct Run {
  std::vector<std::vector<float>> values{std::vector<float>(5000), std::vector<float>(12), std::vector<float>(3, 0.25f)}, gradients = values;
  std::vector<TrainedTensor> tensors;
  Optimizer optimizer;
  TrainingProgress progress;
  Json config{{"seed", 3}, {"stages", {{{"name", "one"}, {"steps", 100}}}}};

  Run() : tensors(list()), optimizer(tensors, {}, {false, true, false}) {
    for (std::size_t i = 0; i < values[0].size(); ++i) values[0][i] = std::sin(static_cast<float>(i));
  }
  std::vector<TrainedTensor> list() {
    const std::vector<std::string> names{"vector", "matrix", "frozen"};
    const std::vector<std::vector<Index>> shapes{{5000}, {3, 4}, {3}};
    std::vector<TrainedTensor> tensors;
    for (std::size_t i = 0; i < 3; ++i) tensors.push_back({names[i], shapes[i], values[i], gradients[i], i != 2});
    return tensors;
  }
  void step() {
    for (std::size_t i = 0; i < 2; ++i)
      for (std::size_t j = 0; j < values[i].size(); ++j)
        gradients[i][j] = values[i][j] + 0.1f * std::cos(static_cast<float>(j) + static_cast<float>(progress.step));
    optimizer.step(tensors, 1e-2, 1.0);
    ++progress.step;
    ++progress.total_steps;
  }
  bool operator==(const Run& other) const {
    if (values != other.values) return false;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto &a = optimizer.states()[i], &b = other.optimizer.states()[i];
      if (a.steps != b.steps || a.first != b.first || a.second != b.second || a.average != b.average) return false;
    }
    return progress.step == other.progress.step && progress.stage == other.progress.stage;
  }
};

std::vector<std::string> names_in(const std::filesystem::path& path) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE("a run goes on from its checkpoint bit for bit") {
  const Folder folder;
  Run run;
  for (int i = 0; i < 3; ++i) run.step();
  save_training_state(folder / "a.safetensors", run.tensors, run.optimizer, run.progress, run.config);
  Run other;
  other.progress = load_training_state(folder / "a.safetensors", other.tensors, other.optimizer, other.config);
  CHECK(other == run);
  CHECK(other.optimizer.states()[2].average.empty());
  for (int i = 0; i < 2; ++i) run.step(), other.step();
  CHECK(other == run);
}

TEST_CASE("a checkpoint that does not belong to the run is refused, and nothing is changed") {
  const Folder folder;
  Run run;
  run.step();
  save_training_state(folder / "a.safetensors", run.tensors, run.optimizer, run.progress, run.config);
  const auto load = [&](Run& into, const char* name) {
    const auto before = into.values;
    const std::string sentence = error_of([&] { load_training_state(folder / name, into.tensors, into.optimizer, into.config); });
    CHECK(into.values == before);
    return sentence;
  };
  Run other;
  other.config["stages"][0]["steps"] = 200;
  CHECK(contains(load(other, "a.safetensors"), "belongs to a run with another config: stages[0].steps is 200, not 100;"));
  Run renamed;
  renamed.tensors[2].name = "cold";
  CHECK(contains(load(renamed, "a.safetensors"), "has no tensor weight/cold"));
  Run reshaped;
  reshaped.tensors[1].shape = {4, 3};
  CHECK(contains(load(reshaped, "a.safetensors"), "weight/matrix has shape [3, 4], expected [4, 3]"));
  Run fewer;
  fewer.tensors.pop_back();
  CHECK(contains(error_of([&] { load_training_state(folder / "a.safetensors", fewer.tensors, fewer.optimizer, fewer.config); }), "tensors, the model needs"));
  write_safetensors(folder / "b.safetensors", {});
  CHECK(contains(load(other, "b.safetensors"), "is no checkpoint of a training run"));
  std::filesystem::resize_file(folder / "a.safetensors", 2000);
  CHECK_THROWS_AS(load_training_state(folder / "a.safetensors", run.tensors, run.optimizer, run.config), Error);
}

TEST_CASE("a checkpoint that cannot be gone on from is refused, and nothing is changed") {
  const Folder folder;
  const auto path = folder / "a.safetensors";
  const auto refused = [&](auto&& spoil) {
    Run run;
    for (int i = 0; i < 3; ++i) run.step();
    spoil(run);
    save_training_state(path, run.tensors, run.optimizer, run.progress, run.config);
    Run into;
    const auto before = into.values;
    const std::string sentence = error_of([&] { load_training_state(path, into.tensors, into.optimizer, into.config); });
    CHECK(into.values == before);
    for (const TensorState& state : into.optimizer.states()) CHECK(state.steps == 0);
    return sentence;
  };
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  CHECK(refused([&](Run& run) { run.values[2][1] = nan; }) == path.string() + ": weight/frozen holds NaN or infinity");
  CHECK(refused([&](Run& run) { run.optimizer.states()[1].average[3] = infinity; }) == path.string() + ": average/matrix holds NaN or infinity");
  CHECK(refused([&](Run& run) { run.optimizer.states()[1].first[3] = nan; }) == path.string() + ": first/matrix holds NaN or infinity");
  CHECK(refused([&](Run& run) { run.optimizer.states()[0].second[3] = nan; }) == path.string() + ": second/vector holds NaN or infinity");
  CHECK(refused([&](Run& run) { run.optimizer.states()[0].steps = 4; }) ==
        path.string() + ": tensor_steps.vector must be between 1 and 3, not 4");
  CHECK(refused([&](Run& run) { run.progress.total_steps = 7; }) ==
        path.string() + ": total_steps is 7, but step 3 of stage 0 is step 3 of the run");
  CHECK(refused([&](Run& run) { run.progress.step = 101; }) == path.string() + ": step must be between 0 and 100, not 101");
  CHECK(refused([&](Run& run) { run.progress.stage = 2; }) == path.string() + ": stage must be between 0 and 1, not 2");
  {
    Run run;
    save_training_state(path, run.tensors, run.optimizer, run.progress, run.config);
    const SafetensorsFile good(path);
    std::vector<SafetensorsEntry> entries;
    for (const RawTensor& raw : good.tensors())
      entries.push_back({raw.key, raw.key == "weight/frozen" ? Dtype::i32 : raw.dtype, raw.shape, [&raw](const auto& put) { put(raw.bytes); }});
    write_safetensors(folder / "b.safetensors", entries, good.metadata());
    CHECK(error_of([&] { load_training_state(folder / "b.safetensors", run.tensors, run.optimizer, run.config); }) ==
          (folder / "b.safetensors").string() + ": weight/frozen must be F32");
  }
  Run earlier;
  save_training_state(path, earlier.tensors, earlier.optimizer, earlier.progress, earlier.config);
  earlier.config["hashes"]["vae"] = hex(1);
  CHECK(contains(error_of([&] { load_training_state(path, earlier.tensors, earlier.optimizer, earlier.config); }),
                 "a.safetensors was written by an earlier version, which kept no hashes of autoencoder, image processor and tokenizer, so that"));
  CheckpointDirectory gone(folder.path() / "gone", 1);
  std::filesystem::remove_all(folder.path() / "gone");
  const std::string sentence = "cannot read the directory " + (folder.path() / "gone").string() + ": No such file or directory";
  CHECK(error_of([&] { gone.latest(); }) == sentence);
  CHECK(error_of([&] { gone.remove_leftovers(); }) == sentence);
}

TEST_CASE("the last checkpoints are kept, by number") {
  const Folder folder;
  CheckpointDirectory checkpoints(folder.path() / "checkpoints", 2);
  CHECK(!checkpoints.latest());
  Run run;
  for (const Index steps : {Index{1}, Index{2}, Index{999'999'999}, Index{1'000'000'000}}) {
    run.progress.total_steps = steps;
    checkpoints.save(run.tensors, run.optimizer, run.progress, run.config);
    CHECK(*checkpoints.latest() == checkpoints.file(steps));
  }
  CHECK(names_in(folder.path() / "checkpoints") == std::vector<std::string>{"step-1000000000.safetensors", "step-999999999.safetensors"});
  folder.write("checkpoints/step-000000005.safetensors.tmp-1-0", "half of one");
  const CheckpointDirectory again(folder.path() / "checkpoints", 2);
  again.remove_leftovers();
  CHECK(names_in(folder.path() / "checkpoints").size() == 2);
  CHECK(*again.latest() == checkpoints.file(1'000'000'000));
}

#if defined(__unix__)
TEST_CASE("two runs do not work in one directory") {
  const Folder folder;
  {
    const RunLock lock(folder.path());
    CHECK(error_of([&] { RunLock second(folder.path()); }) == folder.path().string() + " is in use by another run");
  }
  CHECK_NOTHROW(RunLock(folder.path()));
  CHECK(contains(error_of([&] { RunLock lock(folder / "nowhere"); }), "cannot write " + (folder / "nowhere/lock").string()));
}

TEST_CASE("a disk that is full leaves the last checkpoint as it was") {
  const Folder folder;
  const CheckpointDirectory checkpoints(folder.path() / "checkpoints", 1);
  Run run;
  run.step();
  checkpoints.save(run.tensors, run.optimizer, run.progress, run.config);
  Run saved;
  run.step();
  struct rlimit before;
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  struct rlimit small = before;
  small.rlim_cur = 30'000;  // bytes: half of a checkpoint
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string sentence;
  try {
    checkpoints.save(run.tensors, run.optimizer, run.progress, run.config);
  } catch (const Error& error) {
    sentence = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(contains(sentence, "cannot write " + checkpoints.file(2).string()));
  CHECK(names_in(folder.path() / "checkpoints") == std::vector<std::string>{"step-000000001.safetensors"});
  saved.progress = load_training_state(*checkpoints.latest(), saved.tensors, saved.optimizer, saved.config);
  saved.step();
  CHECK(saved == run);
}

TEST_CASE("a disk that is full leaves the files of a published model as they were") {
  const Folder folder;
  for (const char* name : {"model", "published"}) std::filesystem::create_directory(folder / name);
  folder.write("published/tokenizer.json", "the one before");
  folder.write("model/tokenizer.json", std::string(100'000, 't'));
  struct rlimit before;
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  struct rlimit small = before;
  small.rlim_cur = 30'000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string sentence;
  try {
    copy_processor(folder / "model", folder / "published");
  } catch (const Error& error) {
    sentence = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(contains(sentence, (folder / "published/tokenizer.json").string() + ": File too large"));
  CHECK(read_file(folder / "published/tokenizer.json", 1000) == "the one before");
  CHECK(names_in(folder / "published") == std::vector<std::string>{"tokenizer.json"});
  copy_processor(folder / "model", folder / "published");
  CHECK(std::filesystem::file_size(folder / "published/tokenizer.json") == 100'000);
}
#endif

TEST_CASE("whatever decides a text's ids is published, and is part of the tokenizer's hash") {
  const Folder folder;
  std::filesystem::create_directory(folder / "model");
  std::filesystem::create_directory(folder / "published");
  const std::vector<std::string> names{"preprocessor_config.json", "processor_config.json", "special_tokens_map.json", "tokenizer.json",
                                       "tokenizer_config.json"};
  std::set<std::uint64_t> hashes;
  for (const std::string& name : names) {
    folder.write("model/" + name, name);
    hashes.insert(tokenizer_hash(folder / "model"));
  }
  CHECK(hashes.size() == 5);  // that of none, too: pictures are another matter
  copy_processor(folder / "model", folder / "published");
  CHECK(names_in(folder / "published") == names);
  for (const std::string& name : names) CHECK(read_file(folder / "published" / name, 100) == name);
}

TEST_CASE("a log goes on where its checkpoint stands") {
  const Folder folder;
  const auto path = folder / "log.csv";
  const std::vector<std::string> names{"ar", "rf", "repa"};
  const std::string header = "step,stage,learning_rate,loss,ar,rf,repa,gradient_norm,samples,samples_per_second";
  {
    TrainingLog log(path, names, 0);
    for (Index step = 10; step <= 40; step += 10)
      log.add({step, "one", 1e-4, 1.5, {step == 20 ? LogRow::none : 0.25, 1.0 / static_cast<double>(step), LogRow::none}, 0.125, step * 8, 3.5});
  }
  std::string text = read_file(path, 10'000);
  CHECK(text.starts_with(header + "\n10,one,1e-04,1.5,0.25,0.1,,0.125,80,3.5\n20,one,1e-04,1.5,,0.05,,0.125,160,3.5\n"));
  folder.write("log.csv", text + "50,one,1e-0");  // killed
  {
    TrainingLog log(path, names, 25);
    REQUIRE(log.rows().size() == 2);
    CHECK(log.rows()[1].samples == 160);
    CHECK(std::isnan(log.rows()[1].losses[0]));
    log.add({30, "two", 1e-4, 1.0, {0.5, LogRow::none, 0.25}, 0.125, 240, 3.5});
    const Picture picture = log.curves();
    CHECK(picture.shape() == Shape{Index{400}, Index{720}, Index{3}});
    write_png(folder / "curve.png", picture);
    CHECK(read_picture(folder / "curve.png").shape() == picture.shape());
  }
  text = read_file(path, 10'000);
  CHECK(std::count(text.begin(), text.end(), '\n') == 4);
  CHECK(text.ends_with("30,two,1e-04,1,0.5,,0.25,0.125,240,3.5\n"));
  TrainingLog anew(path, names, 0);
  CHECK(anew.rows().empty());
  CHECK(anew.curves().size() > 0);  // axes alone
  folder.write("other.csv", "a,b\n1,2\n");
  CHECK(contains(error_of([&] { TrainingLog(folder / "other.csv", names, 5); }), "other.csv is no log of a training run"));
  CHECK(TrainingLog(folder / "other.csv", names, 0).rows().empty());  // a run that begins replaces it
  for (const char* line : {"1,2", "1,one,1e-04,1.5,0.25x,0.1,,0.125,80,3.5", "1,one,1e-04,1.5,0.25,0.1,, 0.125,80,3.5",
                           "1e300,one,1e-04,1.5,0.25,0.1,,0.125,80,3.5", ",one,1e-04,1.5,0.25,0.1,,0.125,80,3.5"}) {
    folder.write("other.csv", header + '\n' + line + '\n');
    CHECK(contains(error_of([&] { TrainingLog(folder / "other.csv", names, 5); }), "other.csv:2 is no line of a log"));
  }
}

TEST_CASE("curves are drawn where their numbers are") {
  const Picture picture = plot({{"a", {0, 1, 2, 3}, {0, 1, std::numeric_limits<double>::quiet_NaN(), 3}}}, 400, 200);
  const auto is_blue = [&](Index x, Index y) { return picture(y, x, 0) == 31 && picture(y, x, 2) == 180; };
  CHECK(is_blue(64, 170));       // the first point: left bottom
  CHECK(is_blue(388, 24));       // the last: right top
  CHECK(is_blue(64 + 216, 73));  // between 1 and 3, as if the missing one were not there
  CHECK(!is_blue(70, 30));
}
