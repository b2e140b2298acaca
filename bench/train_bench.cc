// Training steps of the executor on the model shape that PyTorch's FSDP2 is measured with: CLIP at 224 px and patch 14 (width 256,
// 6 layers) without class token, linear connector, LLaMA of width 512 with 8 layers and a vocabulary of 32,000; 256 image and 64
// text tokens, the last 48 supervised; random weights, AdamW, clipping at 1. Batches are made outside the timed part.
// Run under mpirun: train_bench [--stage 2] [--batch 2] [--steps 10] [--warmup 3] [--threads 1] [--shard parameters]
// [--offload none] [--dtype float32] [--save-every 4 --save-dir DIR [--spread 10]] [--images 0 --feature-cache 0] [--longer 0 [--padded]]. Rank 0 prints
// one JSON line: the slowest rank's steps count.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/memory.h"
#include "base/pace.h"
#include "base/random.h"
#include "bench/peer_shape.h"
#include "cluster/mpi/mpi_communicator.h"
#include "model/nn/batch.h"
#include "model/nn/feature_cache.h"
#include "model/nn/units.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"
#include "sharding/exec/executor.h"
#include "storage/tensor_writer.h"

namespace {

using namespace tephra;
using Clock = std::chrono::steady_clock;

struct Options {
  int stage = 2, batch = 2, steps = 10, warmup = 3, threads = 1;
  int save_every = 0;
  int images = 0;         // different ones; 0: each is new
  int feature_cache = 0;  // MiB a rank; 0: none
  int longer = 0;         // samples have 64 to 64 + this many text tokens, drawn
  bool padded = false;    // each to the longest of its micro-batch, as a trainer without packing has them
  double spread = 0;      // steps that the writing of a snapshot is spread over
  std::string shard = "parameters", offload = "none", dtype = "float32", save_dir;
};

constexpr int kText = 64, kSupervised = 48;

// How many text tokens a sample has.
uint64_t text_tokens(const Options& o, uint64_t sample) {
  return kText + random_below(static_cast<uint64_t>(o.longer) + 1, {4, sample});
}

// Floating-point operations that a sample needs: two a multiply-add; attention at half of its square; backward twice a trained
// layer's forward, once a frozen one's; the head on supervised places only. Norms, softmax and optimizer count nothing.
double needed_flops(const model::ModelConfig& c, const Options& o, uint64_t sample) {
  const double patches = 256, sequence = patches + static_cast<double>(text_tokens(o, sample));
  const auto width = static_cast<double>(c.vision.hidden_size), d = static_cast<double>(c.text.hidden_size);
  const double vision_weights = 6 * (4 * width * width + 2 * width * 1024);
  const double vision = 2 * vision_weights * (patches + 1) + 2 * 3 * 14 * 14 * width * patches +
                        6 * 4 * (patches + 1) * (patches + 1) * width;
  const double connector = 2 * width * d * patches;
  const double blocks = 2.0 * 8 * (4 * d * d + 3 * d * 1376) * sequence;
  const double attention = 8 * 2 * sequence * sequence * d;
  const double head = 2 * d * 32000 * kSupervised;
  const double passes = o.stage == 2 ? 3 : 2;
  return vision + 2 * connector + passes * (blocks + head) + 3 * attention;
}

// From the start of mpirun, this process's parent, to now.
double seconds_since_mpirun() {
  std::ifstream stat("/proc/" + std::to_string(getppid()) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 2));  // from field 3 on; the start is field 22
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  struct timespec now {};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) -
         std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Drawn faster than a model's own initial values are, so that the time to the first step is that of a model that is read.
void draw_weights(const std::string& name, int64_t begin, int64_t count, float* out) {
  if (name.ends_with("bias")) return void(std::fill_n(out, count, 0.0f));
  if (name.find("norm") != std::string::npos) return void(std::fill_n(out, count, 1.0f));
  const uint64_t key = key_of(name);
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = (key + static_cast<uint64_t>(begin + i)) * 0x9E3779B97F4A7C15u;
    out[i] = 0.035f * (static_cast<float>((bits ^ bits >> 29) >> 40) / float{1 << 23} - 1.0f);  // deviation 0.02
  }
}

double seconds_since(Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); }

// Best of twelve square products on every rank at once, summed, in floating-point operations a second.
double product_peak(const std::string& dtype) {
  const int64_t n = 2048;
  const at::ScalarType type = dtype == "float32" ? at::kFloat : at::kBFloat16;
  const at::Tensor a = at::randn({n, n}).to(type), b = at::randn({n, n}).to(type);
  double best = 1e9;
  for (int i = 0; i < 14; ++i) {
    const auto start = Clock::now();
    at::matmul(a, b);
    best = std::min(best, seconds_since(start));
  }
  return 2.0 * n * n * n / best;
}

class Bench {
 public:
  Bench(cluster::Communicator* communicator, const Options& options) : comm_(communicator), o_(options) {}

  Status run() {
    TEPHRA_RETURN_IF_ERROR(make_executor());
    double first_step = 0;
    std::vector<double> slowest;
    for (int step = 0; step < o_.warmup + o_.steps; ++step) {
      TEPHRA_ASSIGN_OR_RETURN(const double seconds, one_step(step));
      if (step == 0) first_step = seconds_since_mpirun();
      if (step >= o_.warmup) slowest.push_back(seconds), count_work(step);
      // The steps that run while a snapshot is written, and the others. The first save makes the second set of buffers.
      if (step >= o_.warmup && o_.save_every > 0) (beside_a_save(step) ? beside_save_ : without_).push_back(seconds);
      steps_.push_back(seconds);
      if (o_.save_every > 0 && (step + 1) % o_.save_every == 0) TEPHRA_RETURN_IF_ERROR(save(step + 1));
    }
    pace_.hurry();
    if (writer_.joinable()) writer_.join();
    TEPHRA_RETURN_IF_ERROR(written_);
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<double> peaks, from_all(product_peak(o_.dtype)));
    struct rusage usage {};
    getrusage(RUSAGE_SELF, &usage);
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<double> resident, from_all(static_cast<double>(usage.ru_maxrss) / 1024));
    if (comm_->rank() == 0) report(slowest, first_step, peaks, resident);
    return ok_status();
  }

 private:
  bool beside_a_save(int step) const { return step % o_.save_every < std::max(1.0, std::ceil(o_.spread)); }

  Status make_executor() {
    const std::set<std::string> trained =
        o_.stage == 2 ? std::set<std::string>{"connector", "llm"} : std::set<std::string>{"connector"};
    auto units = model::make_units(config_, trained);
    TEPHRA_ASSIGN_OR_RETURN(const DType dtype, parse_float_dtype(o_.dtype));
    model::set_compute_dtypes(units, {{"vision", dtype}, {"connector", dtype}, {"llm", dtype}});
    for (const auto& unit : units) rates_.push_back(unit.trainable ? 1e-3 : 0);
    const sharding::Policy policy{.world_size = comm_->world_size(),
                                  .shard = sharding::shard_level(o_.shard),
                                  .offload = sharding::offload_of(o_.offload)};
    TEPHRA_ASSIGN_OR_RETURN(executor_, sharding::Executor::create(units, model::make_modules(config_), comm_, policy,
                                                                  {}, std::chrono::minutes(5)));
    return executor_->load(
        [](const std::string& name, sharding::StateKind, int64_t begin, int64_t count, float* out) {
          draw_weights(name, begin, count, out);
          return ok_status();
        },
        false);
  }

  Result<model::LlavaBatch> make_batch(int step) const {
    std::vector<std::vector<float>> images(o_.batch);
    std::vector<model::TokenizedSample> samples;
    for (int b = 0; b < o_.batch; ++b) {
      const auto key = static_cast<uint64_t>((step * comm_->world_size() + comm_->rank()) * o_.batch + b);
      images[b].resize(3 * 224 * 224);
      const uint64_t picture = o_.images > 0 ? key % static_cast<uint64_t>(o_.images) : key;
      for (size_t i = 0; i < images[b].size(); ++i)
        images[b][i] = static_cast<float>(random_bits({2, picture, i}) >> 40) / float{1 << 23} - 1.0f;
      model::TokenizedSample sample{{model::kImageToken}, {}, {images[b].data()}, key};
      for (uint64_t i = 0; i < text_tokens(o_, key); ++i)
        sample.ids.push_back(static_cast<int32_t>(random_below(32000, {3, key, i})));
      sample.labels = sample.ids;
      std::fill(sample.labels.begin(), sample.labels.end() - kSupervised, model::kIgnoreLabel);
      samples.push_back(std::move(sample));
    }
    return model::make_batch(samples, config_, 4096, o_.padded ? model::Padding::kRight : model::Padding::kNone);
  }

  void count_work(int step) {
    const int samples = comm_->world_size() * o_.batch;
    for (int i = 0; i < samples; ++i) {
      const auto sample = static_cast<uint64_t>(step * samples + i);
      tokens_ += 256 + static_cast<double>(text_tokens(o_, sample));
      flops_ += needed_flops(config_, o_, sample);
    }
  }

  // Seconds of the slowest rank.
  Result<double> one_step(int step) {
    TEPHRA_ASSIGN_OR_RETURN(model::LlavaBatch batch, make_batch(step));
    TEPHRA_RETURN_IF_ERROR(comm_->barrier(Deadline::after(std::chrono::minutes(5))));
    const auto start = Clock::now();
    if (o_.feature_cache > 0) features_.look_up(batch);
    TEPHRA_ASSIGN_OR_RETURN(const auto stats, executor_->train_step({&batch}, {rates_, step + 1}));
    const double seconds = seconds_since(start);
    fastest_ = std::min(fastest_, seconds);
    last_loss_ = stats.loss;
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<double> all, from_all(seconds));
    return *std::max_element(all.begin(), all.end());
  }

  // What the training thread does at a checkpoint: takes the snapshot and hands it to a thread, as worker/checkpoint_writer does.
  Status save(int step) {
    pace_.hurry();
    if (writer_.joinable()) writer_.join();  // the bench leaves it time enough
    TEPHRA_RETURN_IF_ERROR(written_);
    const auto start = Clock::now();
    sharding::Snapshot snapshot = executor_->snapshot();
    uint64_t bytes = 0;
    for (const sharding::StatePiece& piece : snapshot.pieces) bytes += 4 * piece.values.size();
    pace_.start(bytes, std::chrono::nanoseconds(static_cast<int64_t>(1e9 * fastest_ * o_.spread)));
    writer_ = std::thread([this, step, snapshot = std::move(snapshot)]() mutable {
      const auto begun = Clock::now();
      written_ = write(step, snapshot);
      snapshot = {};
      write_seconds_.push_back(seconds_since(begun));
    });
    TEPHRA_ASSIGN_OR_RETURN(const auto all, from_all(seconds_since(start)));
    stalls_.push_back(*std::max_element(all.begin(), all.end()));
    return ok_status();
  }

  Status write(int step, const sharding::Snapshot& snapshot) {
    const std::string pack = storage::pack_name("bench", 1, "s", step, comm_->rank());
    TEPHRA_ASSIGN_OR_RETURN(auto writer, storage::TensorWriter::create(Env::posix(), o_.save_dir, pack,
                                                                       [&](uint64_t bytes) { pace_.wait(bytes); }));
    for (const sharding::StatePiece& piece : snapshot.pieces)
      TEPHRA_RETURN_IF_ERROR(
          writer->add(piece.tensor, static_cast<storage::StateKind>(static_cast<int>(piece.kind) + 1), DType::kFloat32,
                      piece.shape, piece.begin, static_cast<int64_t>(piece.values.size()),
                      reinterpret_cast<const std::byte*>(piece.values.data())));
    TEPHRA_RETURN_IF_ERROR(writer->finish().status());
    return Env::posix().remove(storage::pack_path(o_.save_dir, pack));
  }

  Result<std::vector<double>> from_all(double mine) {
    std::vector<double> all(comm_->world_size());
    TEPHRA_RETURN_IF_ERROR(comm_->all_gather({&mine, 1, DType::kFloat64},
                                             {all.data(), std::ssize(all), DType::kFloat64},
                                             Deadline::after(std::chrono::minutes(5))));
    return all;
  }

  // For each save the step that takes it, over the median of those around it that nothing is written beside.
  std::vector<double> over_neighbours() const {
    std::vector<double> ratios;
    const int count = static_cast<int>(steps_.size());
    for (int step = o_.save_every; step < count; step += o_.save_every) {
      if (step < o_.warmup) continue;
      std::vector<double> around;
      for (int other = std::max(o_.warmup, step - o_.save_every); other < std::min(count, step + o_.save_every);
           ++other)
        if (!beside_a_save(other)) around.push_back(steps_[other]);
      if (!around.empty()) ratios.push_back(steps_[step] / bench::median(around));
    }
    std::sort(ratios.begin(), ratios.end());
    return ratios;
  }

  void report(const std::vector<double>& steps, double first_step, const std::vector<double>& peaks,
              const std::vector<double>& resident) const {
    const int world = comm_->world_size();
    double peak = 0;
    for (const double p : peaks) peak += p;
    const double step = bench::median(steps), rate = flops_ / o_.steps / step;
    std::printf(
        "{\"bench\": \"train\", \"stage\": %d, \"ranks\": %d, \"threads\": %d, \"shard\": \"%s\", \"dtype\": \"%s\", \"tokens_per_s\": %.1f, "
        "\"tokens_per_s_min\": %.1f, \"tokens_per_s_max\": %.1f, \"step_ms\": %.1f, \"gflops_needed\": %.1f, "
        "\"product_peak_gflops\": %.1f, \"of_peak\": %.3f, \"peak_rss_mib\": %.0f, \"start_to_first_step_s\": %.2f, \"loss\": %.4f}\n",
        o_.stage, world, o_.threads, o_.shard.c_str(), o_.dtype.c_str(), tokens(step),
        tokens(*std::max_element(steps.begin(), steps.end())), tokens(*std::min_element(steps.begin(), steps.end())),
        1000 * step, rate / 1e9, peak / 1e9, rate / peak, *std::max_element(resident.begin(), resident.end()),
        first_step, last_loss_);
    if (stalls_.empty()) return;
    const std::vector<double> ratios = over_neighbours();
    const auto at = [&](double share) {
      return ratios.empty() ? 0 : ratios[static_cast<size_t>(share * (std::ssize(ratios) - 1))];
    };
    std::printf(
        "{\"bench\": \"snapshot\", \"saves\": %zu, \"stall_ms\": %.2f, \"write_ms\": %.0f, \"step_beside_ms\": %.1f, "
        "\"other_steps_ms\": %.1f, \"step_beside_over_others\": %.3f, \"saves_with_neighbours\": %zu, "
        "\"taking_step_over_neighbours\": %.3f, \"taking_step_quartiles\": [%.3f, %.3f]}\n",
        stalls_.size(), 1000 * *std::max_element(stalls_.begin(), stalls_.end()), 1000 * bench::median(write_seconds_),
        1000 * bench::median(beside_save_), 1000 * bench::median(without_),
        bench::median(beside_save_) / bench::median(without_), ratios.size(), at(0.5), at(0.25), at(0.75));
    std::printf("{\"bench\": \"snapshot_steps\", \"ms\": [");
    for (size_t i = 0; i < steps_.size(); ++i) std::printf("%s%.1f", i == 0 ? "" : ", ", 1000 * steps_[i]);
    std::printf("]}\n");
  }
  double tokens(double seconds) const { return tokens_ / o_.steps / seconds; }

  cluster::Communicator* comm_;
  const Options o_;
  const model::ModelConfig config_ = bench::peer_shape();
  std::vector<double> rates_;
  std::unique_ptr<sharding::Executor> executor_;
  model::FeatureCache features_{int64_t{o_.feature_cache} << 20, {}};
  double tokens_ = 0, flops_ = 0;  // of all ranks, over the steps that are measured
  double last_loss_ = 0;
  double fastest_ = 60;  // step, in seconds
  Pace pace_;
  std::thread writer_;
  Status written_;                                      // by writer_; read after it was joined
  std::vector<double> write_seconds_;                   // likewise
  std::vector<double> stalls_, beside_save_, without_;  // seconds
  std::vector<double> steps_;                           // all, in order
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Training steps beside PyTorch's FSDP2");
  app.add_option("--stage", options.stage);
  app.add_option("--batch", options.batch);
  app.add_option("--steps", options.steps);
  app.add_option("--warmup", options.warmup);
  app.add_option("--threads", options.threads);
  app.add_option("--shard", options.shard);
  app.add_option("--offload", options.offload, "none, optimizer or parameters");
  app.add_option("--dtype", options.dtype);
  app.add_option("--images", options.images, "different pictures; 0: each is new");
  app.add_option("--feature-cache", options.feature_cache, "MiB of features that a rank keeps; 0: none");
  app.add_option("--longer", options.longer, "samples have 64 to 64 + N text tokens, drawn");
  app.add_flag("--padded", options.padded, "pad each to the longest of its micro-batch");
  app.add_option("--save-every", options.save_every, "steps between snapshots; 0: none");
  app.add_option("--spread", options.spread, "steps that the writing of one is spread over; 0: as fast as it goes");
  app.add_option("--save-dir", options.save_dir, "folder that they are written to, and removed from");
  CLI11_PARSE(app, argc, argv);
  keep_freed_memory();  // as tephra-worker does
  at::set_num_threads(options.threads);
  Status status = cluster::mpi_init();
  auto communicator = cluster::make_mpi_communicator();
  if (status.ok()) status = communicator.ok() ? Bench(communicator->get(), options).run() : communicator.status();
  if (!status.ok()) {
    std::fprintf(stderr, "train_bench: %s\n", status.to_string().c_str());
    return 1;
  }
  communicator->reset();
  cluster::mpi_finalize();
  return 0;
}
