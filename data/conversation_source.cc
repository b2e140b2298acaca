#include "data/conversation_source.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/env.h"
#include "data/dataset_folder.h"
#include "data/offset_index.h"
#include "data/tar.h"

namespace tephra::data {
namespace {

// The one sample of `text`, told of as sample `index` of `name` at `line`.
Result<Sample> parse_one(std::string_view text, const std::string& name, uint64_t index, uint64_t line) {
  TEPHRA_ASSIGN_OR_RETURN(std::vector<Sample> parsed, parse_conversations(text, name));
  if (parsed.size() != 1)
    return Status(Code::kInvalidArgument, name + ": there must be one sample, not " + std::to_string(parsed.size()));
  Sample sample = std::move(parsed[0]);
  if (sample.id == "#0") sample.id = "#" + std::to_string(index);
  sample.line = static_cast<int>(line);
  return sample;
}

class InMemory : public ConversationSource {
 public:
  explicit InMemory(std::vector<Sample> samples) : samples_(std::move(samples)) {}
  uint64_t size() const override { return samples_.size(); }
  Result<Sample> sample(uint64_t index) const override { return samples_[index]; }

 private:
  const std::vector<Sample> samples_;
};

class Lines : public ConversationSource {
 public:
  static Result<std::unique_ptr<ConversationSource>> open(const std::string& path) {
    TEPHRA_ASSIGN_OR_RETURN(MappedFile data, MappedFile::open(path));
    TEPHRA_ASSIGN_OR_RETURN(OffsetIndex index, OffsetIndex::open(path, data, [&] { return lines_of(data.bytes()); }));
    data.expect_random();
    return std::unique_ptr<ConversationSource>(new Lines(path, std::move(data), std::move(index)));
  }
  uint64_t size() const override { return index_.size(); }
  Result<Sample> sample(uint64_t index) const override {
    const IndexEntry entry = index_.at(index);
    data_.will_read(entry.offset, index_.size_of(index, data_.bytes().size()));
    const std::string_view rest = data_.bytes().substr(entry.offset);
    Result<Sample> sample = parse_one(rest.substr(0, rest.find('\n')), path_, index, entry.line);
    if (sample.ok()) return sample;
    // parse_one knows of one line only.
    std::string message = sample.status().message();
    const std::string place = path_ + ":" + std::to_string(entry.line) + ": sample " + std::to_string(index);
    for (const std::string& own : {path_ + ":1: sample 0", path_ + ":1"})
      if (message.starts_with(own)) return Status(sample.status().code(), place + message.substr(own.size()));
    return Status(sample.status().code(), place + ": " + message);
  }

 private:
  Lines(std::string path, MappedFile data, OffsetIndex index)
      : path_(std::move(path)), data_(std::move(data)), index_(std::move(index)) {}

  static Result<std::vector<IndexEntry>> lines_of(std::string_view text) {
    std::vector<IndexEntry> out;
    uint64_t line = 1;
    for (size_t at = text.starts_with("\xEF\xBB\xBF") ? 3 : 0; at < text.size(); ++line) {
      const size_t end = std::min(text.find('\n', at), text.size());
      if (text.substr(at, end - at).find_first_not_of(" \t\r") != std::string_view::npos) out.push_back({at, line});
      at = end + 1;
    }
    return out;
  }

  const std::string path_;
  const MappedFile data_;
  const OffsetIndex index_;
};

// "a/b/000017.seg.jpg" to "a/b/000017" and "seg.jpg".
std::pair<std::string_view, std::string_view> split_name(std::string_view name) {
  const size_t slash = name.rfind('/');
  const size_t dot = name.find('.', slash == std::string_view::npos ? 0 : slash + 1);
  if (dot == std::string_view::npos) return {name, ""};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

bool is_picture(std::string_view extension) {
  for (const char* end : {"jpg", "jpeg", "png", "JPG", "JPEG", "PNG"})
    if (extension.ends_with(end)) return true;
  return false;
}

class Shard {
 public:
  static Result<Shard> open(const std::string& path) {
    TEPHRA_ASSIGN_OR_RETURN(MappedFile data, MappedFile::open(path));
    auto index = OffsetIndex::open(path, data, [&] { return samples_of(data.bytes()); });
    if (!index.ok()) return index.status().with_context(path);
    data.expect_random();
    return Shard(path, std::move(data), std::move(index).value());
  }
  uint64_t size() const { return index_.size(); }

  // The files of a sample, in the archive's order.
  Result<std::vector<TarMember>> members(uint64_t index) const {
    std::vector<TarMember> out;
    std::string key;
    data_.will_read(index_.at(index).offset, index_.size_of(index, data_.bytes().size()));
    for (uint64_t at = index_.at(index).offset;;) {
      Result<std::optional<TarMember>> next = next_tar_member(data_.bytes(), at);
      if (!next.ok()) return next.status().with_context(path_);
      if (!*next) return out;
      const auto [own, extension] = split_name((*next)->name);
      if (out.empty())
        key = own;
      else if (own != key)
        return out;
      at = (*next)->end;
      out.push_back(std::move(**next));
    }
  }
  const std::string& path() const { return path_; }

 private:
  Shard(std::string path, MappedFile data, OffsetIndex index)
      : path_(std::move(path)), data_(std::move(data)), index_(std::move(index)) {}

  // Only headers are looked at.
  static Result<std::vector<IndexEntry>> samples_of(std::string_view archive) {
    std::vector<IndexEntry> out;
    std::string key;
    for (uint64_t at = 0;;) {
      TEPHRA_ASSIGN_OR_RETURN(const std::optional<TarMember> next, next_tar_member(archive, at));
      if (!next) return out;
      const auto [own, extension] = split_name(next->name);
      if (out.empty() || own != key) {
        key = own;
        out.push_back({next->begin, out.size()});
      }
      at = next->end;
    }
  }

  std::string path_;
  MappedFile data_;
  OffsetIndex index_;
};

class Shards : public ConversationSource {
 public:
  static Result<std::unique_ptr<ConversationSource>> open(const std::string& dir) {
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<std::string> names, Env::posix().list(dir));
    std::unique_ptr<Shards> out(new Shards);
    for (const std::string& name : names) {
      if (!name.ends_with(".tar")) continue;
      TEPHRA_ASSIGN_OR_RETURN(Shard shard, Shard::open(dir + "/" + name));
      out->ends_.push_back(out->size() + shard.size());
      out->shards_.push_back(std::move(shard));
    }
    if (out->shards_.empty()) return Status(Code::kInvalidArgument, dir + " has no shards, *.tar");
    return std::unique_ptr<ConversationSource>(std::move(out));
  }
  uint64_t size() const override { return ends_.empty() ? 0 : ends_.back(); }
  bool holds_pictures() const override { return true; }

  Result<Sample> sample(uint64_t index) const override {
    const auto [shard, own] = place(index);
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<TarMember> members, shard->members(own));
    const std::string key(split_name(members.front().name).first);
    const std::string where = shard->path() + ": " + key;
    std::optional<Sample> sample;
    std::vector<std::string> pictures;
    for (const TarMember& member : members) {
      const std::string_view extension = split_name(member.name).second;
      if (is_picture(extension)) pictures.push_back(member.name);
      if (extension == "json") {
        TEPHRA_ASSIGN_OR_RETURN(sample, parse_one(member.bytes, where + ".json", index, 0));
      } else if (extension == "txt" && !sample) {
        const std::string question =
            std::string(kImageTag) + "\n" + kDescribePrompts[index % std::size(kDescribePrompts)];
        sample = Sample{key, {}, {{"human", question}, {"gpt", std::string(member.bytes)}}};
      }
    }
    if (!sample) return Status(Code::kInvalidArgument, where + ": has neither .json nor .txt");
    if (sample->id.starts_with('#')) sample->id = key;
    sample->images = std::move(pictures);
    return std::move(*sample);
  }

  Result<std::string> picture(uint64_t index, size_t number) const override {
    const auto [shard, own] = place(index);
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<TarMember> members, shard->members(own));
    for (const TarMember& member : members)
      if (is_picture(split_name(member.name).second) && number-- == 0) return std::string(member.bytes);
    return Status(Code::kNotFound, shard->path() + ": " + members.front().name + " has no such picture");
  }

 private:
  Shards() = default;
  std::pair<const Shard*, uint64_t> place(uint64_t index) const {
    const size_t i = static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), index) - ends_.begin());
    return {&shards_[i], index - (i == 0 ? 0 : ends_[i - 1])};
  }

  std::vector<Shard> shards_;
  std::vector<uint64_t> ends_;  // samples up to and with each
};

}  // namespace

Result<std::string> ConversationSource::picture(uint64_t, size_t) const {
  return Status(Code::kUnsupported, "this data's pictures are files of their own");
}

Result<std::unique_ptr<ConversationSource>> open_conversations(const std::string& path) {
  std::error_code none;
  if (std::filesystem::is_directory(path, none)) return Shards::open(path);
  if (path.ends_with(".jsonl") || path.ends_with(".ndjson")) return Lines::open(path);
  TEPHRA_ASSIGN_OR_RETURN(std::vector<Sample> samples, load_conversations(path));
  return std::unique_ptr<ConversationSource>(std::make_unique<InMemory>(std::move(samples)));
}

}  // namespace tephra::data
