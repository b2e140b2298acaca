#include "worker/samples.h"

#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "base/env.h"
#include "data/batch.h"
#include "data/conversation.h"
#include "data/image.h"
#include "data/template.h"

namespace tephra::worker {
namespace {

// Preprocessed pictures kept in memory, over all parts of a stage. A picture that does not fit is decoded at each use.
constexpr uint64_t kPixelCacheBytes = uint64_t{1} << 30;

class Conversations : public SampleSource {
 public:
  Conversations(std::shared_ptr<const data::Tokenizer> tokenizer, std::unique_ptr<data::Dataset> dataset)
      : tokenizer_(std::move(tokenizer)), dataset_(std::move(dataset)) {}

  int64_t size() const override { return static_cast<int64_t>(dataset_->size()); }

  Result<TrainingSample> get(int64_t index) const override {
    TEPHRA_ASSIGN_OR_RETURN(auto encoded, dataset_->get(static_cast<uint64_t>(index)));
    TrainingSample sample;
    sample.ids = std::move(encoded.ids);
    sample.labels = std::move(encoded.labels);
    sample.id = std::move(encoded.id);
    sample.pixels = std::move(encoded.pixels);
    return sample;
  }

 private:
  std::shared_ptr<const data::Tokenizer> tokenizer_;  // the dataset borrows it
  std::unique_ptr<data::Dataset> dataset_;
};

// Pictures with one sentence each, for contrastive training.
class CaptionedPictures : public SampleSource {
 public:
  CaptionedPictures(std::shared_ptr<const data::Tokenizer> tokenizer, std::vector<data::Sample> samples,
                    std::string images, data::PreprocessOptions preprocess)
      : tokenizer_(std::move(tokenizer)),
        samples_(std::move(samples)),
        images_(std::move(images)),
        preprocess_(preprocess) {}

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }

  Result<TrainingSample> get(int64_t index) const override {
    const data::Sample& from = samples_[index];
    if (from.images.size() != 1 || from.turns.empty())
      return Status(Code::kInvalidArgument, "sample '" + from.id + "' has " + std::to_string(from.images.size()) +
                                                " pictures and " + std::to_string(from.turns.size()) +
                                                " turns; contrastive training needs one picture and its caption");
    TrainingSample sample;
    sample.id = from.id;
    sample.ids = tokenizer_->encode_with_bos(from.turns.back().value);
    sample.ids.push_back(tokenizer_->eos_id());
    const auto path = data::resolve_image_path(images_, from.images.front());
    if (!path.ok()) return path.status().with_context("sample '" + from.id + "'");
    auto image = data::load_image(*path);
    if (!image.ok()) return image.status().with_context("sample '" + from.id + "'");
    sample.pixels = {data::preprocess(*image, preprocess_)};
    return sample;
  }

 private:
  std::shared_ptr<const data::Tokenizer> tokenizer_;
  std::vector<data::Sample> samples_;
  std::string images_;
  data::PreprocessOptions preprocess_;
};

// Text to learn next-token prediction on. The file is text, one document a line, or a JSON array of {"text"} documents and
// text-only conversations. Plain documents are packed end to end into sequences of at most max_length tokens, all of them
// supervised. A conversation, read in the stage's template, has a sequence of its own, its assistant's words supervised: packed
// with others, what it says could be looked up in the wrong conversation.
class Documents : public SampleSource {
 public:
  static Result<std::unique_ptr<SampleSource>> open(const std::string& path, const data::Tokenizer& tokenizer,
                                                    const std::string& template_name, int64_t max_length) {
    auto documents = std::make_unique<Documents>();
    documents->path_ = path;
    documents->max_length_ = static_cast<size_t>(max_length);
    TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(Env::posix(), path));
    if (path.ends_with(".json")) {
      TEPHRA_RETURN_IF_ERROR(documents->add_json(bytes, tokenizer, template_name));
    } else {
      std::istringstream in(bytes);
      for (std::string line; std::getline(in, line);)
        if (!line.empty()) documents->add_text(line, tokenizer);
    }
    documents->end_pack();
    if (documents->sequences_.empty()) return Status(Code::kInvalidArgument, path + ": holds no text");
    return std::unique_ptr<SampleSource>(std::move(documents));
  }

  int64_t size() const override { return static_cast<int64_t>(sequences_.size()); }

  Result<TrainingSample> get(int64_t index) const override { return sequences_[index]; }

 private:
  Status add_json(const std::string& bytes, const data::Tokenizer& tokenizer, const std::string& template_name) {
    const auto documents = nlohmann::json::parse(bytes, nullptr, false);
    if (!documents.is_array()) return {Code::kInvalidArgument, path_ + ": is not a JSON array of documents"};
    for (size_t i = 0; i < documents.size(); ++i) {
      const auto& document = documents[i];
      if (document.is_object() && document.contains("text") && document["text"].is_string()) {
        add_text(document["text"].get<std::string>(), tokenizer);
        continue;
      }
      TEPHRA_ASSIGN_OR_RETURN(auto samples, data::parse_conversations("[" + document.dump() + "]",
                                                                      path_ + " document " + std::to_string(i)));
      const int limit = static_cast<int>(max_length_);
      TEPHRA_ASSIGN_OR_RETURN(data::Encoded encoded,
                              data::encode_sample(samples.front(), tokenizer, template_name, limit));
      data::finish_encoding(encoded, tokenizer.unk_id(), limit);
      if (data::count_supervised(encoded) > 0)
        push({std::move(encoded.ids), std::move(encoded.labels), {}, samples.front().id});
    }
    return ok_status();
  }

  void add_text(const std::string& text, const data::Tokenizer& tokenizer) {
    std::vector<int32_t> ids = tokenizer.encode_with_bos(text);
    ids.push_back(tokenizer.eos_id());
    if (ids.size() > max_length_) ids.resize(max_length_);
    if (pack_.size() + ids.size() > max_length_) end_pack();
    pack_.insert(pack_.end(), ids.begin(), ids.end());
  }

  void end_pack() {
    if (!pack_.empty()) push({pack_, pack_, {}, path_ + "#" + std::to_string(sequences_.size())});
    pack_.clear();
  }

  void push(TrainingSample sample) { sequences_.push_back(std::move(sample)); }

  std::string path_;
  size_t max_length_ = 0;
  std::vector<int32_t> pack_;  // the sequence that is being filled
  std::vector<TrainingSample> sequences_;
};

class Concatenated : public SampleSource {
 public:
  explicit Concatenated(std::vector<std::unique_ptr<SampleSource>> parts) : parts_(std::move(parts)) {}

  int64_t size() const override {
    int64_t n = 0;
    for (const auto& part : parts_) n += part->size();
    return n;
  }

  Result<TrainingSample> get(int64_t index) const override {
    for (const auto& part : parts_) {
      if (index < part->size()) return part->get(index);
      index -= part->size();
    }
    return Status(Code::kInternal, "sample index past the data");
  }

 private:
  std::vector<std::unique_ptr<SampleSource>> parts_;
};

Result<std::unique_ptr<SampleSource>> open_part(const TaskContext& context, const data::DatasetPart& part,
                                                std::shared_ptr<const data::Tokenizer> tokenizer,
                                                const data::PreprocessOptions& preprocess) {
  const recipes::StageRecipe& stage = context.stage();
  if (!part.text.empty()) return Documents::open(part.text, *tokenizer, stage.template_name, stage.max_length);
  if (stage.kind == "contrastive") {
    TEPHRA_ASSIGN_OR_RETURN(auto samples, data::load_conversations(part.conversations));
    return std::unique_ptr<SampleSource>(
        std::make_unique<CaptionedPictures>(std::move(tokenizer), std::move(samples), part.images, preprocess));
  }
  data::DatasetOptions options;
  options.conversations_path = part.conversations;
  options.image_root = part.images;
  options.template_name = stage.template_name;
  options.max_length = static_cast<int>(stage.max_length);
  options.preprocess = preprocess;
  options.cache_bytes = kPixelCacheBytes;
  TEPHRA_ASSIGN_OR_RETURN(auto dataset, data::Dataset::open(options, tokenizer.get()));
  return std::unique_ptr<SampleSource>(std::make_unique<Conversations>(std::move(tokenizer), std::move(dataset)));
}
}  // namespace

Result<std::unique_ptr<SampleSource>> open_samples(const TaskContext& context,
                                                   std::shared_ptr<const data::Tokenizer> tokenizer,
                                                   const data::PreprocessOptions& preprocess) {
  std::vector<std::unique_ptr<SampleSource>> parts;
  for (const recipes::DataUse& use : context.stage().data) {
    auto found = context.options.datasets.find(use.dataset);
    if (found == context.options.datasets.end())
      return Status(Code::kInvalidArgument, "dataset '" + use.dataset + "' was not prepared");
    TEPHRA_ASSIGN_OR_RETURN(auto part, found->second.part(use.part));
    TEPHRA_ASSIGN_OR_RETURN(auto source, open_part(context, part, tokenizer, preprocess));
    parts.push_back(std::move(source));
  }
  if (parts.size() == 1) return std::move(parts.front());
  return std::unique_ptr<SampleSource>(std::make_unique<Concatenated>(std::move(parts)));
}

}  // namespace tephra::worker
