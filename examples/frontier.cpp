// Time against picture accuracy on an emoji model, for a list of settings: the frontier that --fast was chosen from.
#include <cstdio>
#include <functional>
#include <iomanip>
#include <memory>
#include <sstream>

#include "common/evaluation.hpp"
#include "common/painting.hpp"
#include "common/paths.hpp"
#include "common/precision.hpp"

using namespace examples;

namespace {

/// A line of the list: options of text_to_image.
struct Setting {
  std::string options;
  std::function<void(TextToImageRequest&)> apply;
};

Setting read_setting(const std::string& line, const std::string& where) {
  // Both live as long as the setting: the options look into the command line that they belong to.
  const auto cli = std::make_shared<CLI::App>();
  const auto painting = std::make_shared<PaintingOptions>(*cli);
  try {
    cli->parse(line);
  } catch (const CLI::Error& error) {
    fail(where, ": ", error.what());
  }
  return {line, [cli, painting](TextToImageRequest& request) { painting->apply(request); }};
}

std::vector<Setting> read_settings(const std::filesystem::path& path) {
  std::istringstream text(read_file(path, 1 << 20));
  std::vector<Setting> settings;
  std::string line;
  for (Index number = 1; std::getline(text, line); ++number)
    if (!line.empty() && line[0] != '#') settings.push_back(read_setting(line, concat(path.string(), ", line ", number)));
  require(!settings.empty(), path.string(), " holds no settings");
  return settings;
}

double mean_psnr(const std::vector<Picture>& pictures, const std::vector<Picture>& originals) {
  double sum = 0;
  for (std::size_t i = 0; i < pictures.size(); ++i) sum += std::min(psnr(pictures[i], originals[i]), 100.0);  // equal ones count 100 dB
  return sum / static_cast<double>(pictures.size());
}

/// A row for each setting; `show` sees all that there are after each.
template <class P>
Json measure(const std::filesystem::path& model, const Evaluation& data, const std::vector<Setting>& settings, std::size_t at_once,
             const std::function<void(const Json&)>& show) {
  Progress progress;
  progress.stage("loading");
  const TextToImage<P> painter(ModelFiles::open(model), AutoencoderFiles::open(model / "vae"));
  Json rows = Json::array();
  std::vector<Picture> originals;  // of the first setting
  for (const Setting& setting : settings) {
    auto training = measure_pictures(painter, data, "train", at_once, progress, setting.apply);
    const auto held_out = measure_pictures(painter, data, "heldout", at_once, progress, setting.apply);
    const auto pictures = static_cast<double>(training.first.all + held_out.first.all);
    if (originals.empty()) originals = std::move(training.pictures);
    const auto& compared = training.pictures.empty() ? originals : training.pictures;
    rows.push_back({{"options", setting.options},
                    {"rows", static_cast<double>(training.rows + held_out.rows) / pictures},
                    {"seconds", std::min(training.seconds, held_out.seconds)},
                    {"top1", training.first.value()},
                    {"top5", training.first_five.value()},
                    {"heldout_top1", held_out.first.value()},
                    {"psnr", mean_psnr(compared, originals)}});
    progress.clear();
    show(rows);
  }
  return rows;
}

void write_csv(const std::filesystem::path& path, const Json& rows) {
  std::ostringstream csv;
  csv << "options,rows,seconds,top1,top5,heldout_top1,psnr\n" << std::fixed;
  for (const Json& row : rows) {
    csv << row["options"].get<std::string>() << ',' << std::setprecision(1) << row["rows"].get<double>() << std::setprecision(4);
    for (const char* key : {"seconds", "top1", "top5", "heldout_top1"}) csv << ',' << row[key].get<double>();
    csv << ',' << std::setprecision(2) << row["psnr"].get<double>() << '\n';
  }
  write_file(path, csv.str());
}

}  // namespace

int main(int argc, char** argv) {
  Program program("frontier", "Measures time and picture accuracy on an emoji model for a list of settings.");
  std::string model = default_model(), folder, list, output = "frontier.csv";
  std::size_t limit = 0, at_once = 4;
  program.option("settings", list, "FILE", "text_to_image's options for the flow, a setting a line")->required();
  program.option("-m,--model", model, "DIR", "the model's directory");
  program.option("--data", folder, "DIR", "the data of the measures (evaluation in the model's unless given)");
  program.option("-o,--output", output, "FILE", "the table of results, in comma-separated values");
  program.option("--limit", limit, "N", "only the first N pictures of each kind; 0: all");
  program.option("--at-once", at_once, "N", "pictures in one call; the fastest call's time counts")->check(CLI::Range(1, 1000));
  return program.run(argc, argv, [&] {
    require_model(model);
    const std::vector<Setting> settings = read_settings(list);
    require_outputs({output}, {list});
    const std::filesystem::path directory = model;
    const auto show = [&](const Json& rows) {  // the table is there, however far this got
      const InterruptGuard::Noted here;
      write_csv(output, rows);
      if (program.json()) return;
      if (rows.size() == 1) std::printf("%-50s %9s %8s\n", "", "a picture", "top 1");
      const Json& last = rows.back();
      std::printf("%-50s %6.1f ms %6.1f %%\n", last["options"].get<std::string>().c_str(), last["seconds"].get<double>() * 1000,
                  last["top1"].get<double>() * 100);
      std::fflush(stdout);
    };
    const std::string precision = choose_precision(program.precision(), Checkpoint(directory));
    program.report["settings"]["precision"] = precision;
    const InterruptGuard::AtOnce here;
    const Evaluation data(folder.empty() ? directory / "evaluation" : std::filesystem::path(folder), limit);
    program.report["frontier"] = with_precision(precision, [&]<class P>() { return measure<P>(directory, data, settings, at_once, show); });
  });
}
