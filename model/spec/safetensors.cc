#include "model/spec/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

namespace tephra::model {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian and mapped as they are");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own bound
constexpr int64_t kPieceBytes = 8 << 20;

using nlohmann::json;

Status corrupt(const std::string& path, const std::string& what) { return {Code::kCorruption, path + ": " + what}; }

// Parses the header, refusing a key that occurs twice (nlohmann would keep the last without a word).
Result<json> parse_header(const std::string& path, const char* begin, const char* end) {
  std::set<std::string> names;
  std::string twice;
  auto callback = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1 && !names.insert(value.get<std::string>()).second)
      twice = value.get<std::string>();
    return true;
  };
  json header = json::parse(begin, end, callback, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object())
    return corrupt(path, "the safetensors header is not a JSON object; the file is damaged or of another kind");
  if (!twice.empty()) return corrupt(path, "tensor " + twice + " occurs twice in the header");
  return header;
}

struct Placed {
  TensorInfo info;
  uint64_t begin = 0, end = 0;
};

bool is_count(const json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()};
}

Result<Placed> parse_entry(const std::string& path, const std::string& name, const json& entry) {
  auto bad = [&](const std::string& what) { return corrupt(path, "tensor " + name + ": " + what); };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets") ||
      !entry["dtype"].is_string() || !entry["shape"].is_array() || !entry["data_offsets"].is_array())
    return bad("its header entry lacks dtype, shape or data_offsets");
  Placed placed;
  placed.info.name = name;
  auto dtype = parse_dtype(entry["dtype"].get<std::string>());
  if (!dtype.ok()) return bad("dtype " + entry["dtype"].get<std::string>() + " is not one this program reads");
  placed.info.dtype = *dtype;
  uint64_t bytes = static_cast<uint64_t>(size_bytes(*dtype));
  for (const json& dim : entry["shape"]) {
    if (!is_count(dim)) return bad("its shape holds something that is not a size");
    uint64_t size = dim.get<uint64_t>();
    if (size != 0 && bytes > uint64_t{std::numeric_limits<int64_t>::max()} / size)
      return bad("its shape is impossibly large");
    bytes *= size;
    placed.info.shape.push_back(static_cast<int64_t>(size));
  }
  const json& offsets = entry["data_offsets"];
  if (offsets.size() != 2 || !is_count(offsets[0]) || !is_count(offsets[1]))
    return bad("its data_offsets are not two sizes");
  placed.begin = offsets[0].get<uint64_t>();
  placed.end = offsets[1].get<uint64_t>();
  if (placed.end < placed.begin || placed.end - placed.begin != bytes)
    return bad("its data_offsets [" + std::to_string(placed.begin) + ", " + std::to_string(placed.end) +
               "] do not hold the " + std::to_string(bytes) + " bytes of " + entry["dtype"].get<std::string>() + " " +
               to_string(placed.info.shape));
  return placed;
}

}  // namespace

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::open(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_status(errno, "open " + path);
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    Status status = errno_status(errno, "stat " + path);
    ::close(fd);
    return status;
  }
  auto file = std::unique_ptr<SafetensorsFile>(new SafetensorsFile);
  file->path_ = path;
  uint64_t size = static_cast<uint64_t>(info.st_size);
  if (S_ISREG(info.st_mode) && size > 0) {
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      Status status = errno_status(errno, "map " + path);
      ::close(fd);
      return status;
    }
    file->data_ = static_cast<const std::byte*>(data);
    file->size_bytes_ = size;
  }
  ::close(fd);
  TEPHRA_RETURN_IF_ERROR(file->parse());
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

Status SafetensorsFile::parse() {
  if (size_bytes_ < 8)
    return corrupt(path_, "the file has " + std::to_string(size_bytes_) +
                              " bytes, too few for a safetensors header; copy it again");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, data_, 8);
  if (header_bytes > kMaxHeaderBytes)
    return corrupt(path_, "the first 8 bytes are no safetensors header length; the file is damaged or of another kind");
  if (header_bytes > size_bytes_ - 8)
    return corrupt(
        path_, "the file is truncated within its header (" + std::to_string(size_bytes_) + " bytes); copy it again");
  const char* text = reinterpret_cast<const char*>(data_ + 8);
  TEPHRA_ASSIGN_OR_RETURN(json header, parse_header(path_, text, text + header_bytes));

  std::vector<Placed> placed;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return corrupt(path_, "__metadata__ is not an object");
      for (const auto& [key, value] : entry.items())
        if (value.is_string()) metadata_[key] = value.get<std::string>();
      continue;
    }
    TEPHRA_ASSIGN_OR_RETURN(Placed one, parse_entry(path_, name, entry));
    placed.push_back(std::move(one));
  }
  std::sort(placed.begin(), placed.end(),
            [](const Placed& a, const Placed& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  const uint64_t data_bytes = size_bytes_ - 8 - header_bytes;
  uint64_t at = 0;
  for (const Placed& one : placed) {
    if (one.begin < at) return corrupt(path_, "tensor " + one.info.name + " overlaps the bytes of another tensor");
    if (one.begin > at)
      return corrupt(path_, "tensor " + one.info.name + " leaves a hole of bytes before it that belong to no tensor");
    if (one.end > data_bytes)
      return corrupt(path_, "the file is truncated: tensor " + one.info.name + " ends at byte " +
                                std::to_string(8 + header_bytes + one.end) + " of a file of " +
                                std::to_string(size_bytes_) + "; copy it again");
    at = one.end;
  }
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.info.name < b.info.name; });
  for (Placed& one : placed) {
    ranges_.emplace_back(data_ + 8 + header_bytes + one.begin, one.end - one.begin);
    tensors_.push_back(std::move(one.info));
  }
  return ok_status();
}

Result<std::span<const std::byte>> SafetensorsFile::bytes(const std::string& name) const {
  auto it = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                             [](const TensorInfo& info, const std::string& key) { return info.name < key; });
  if (it == tensors_.end() || it->name != name) return Status(Code::kNotFound, path_ + ": there is no tensor " + name);
  return ranges_[static_cast<size_t>(it - tensors_.begin())];
}

namespace {

int64_t tensor_bytes(const TensorInfo& info) { return numel(info.shape) * size_bytes(info.dtype); }

std::string make_header(const std::vector<TensorInfo>& tensors, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t at = 0;
  for (const TensorInfo& info : tensors) {
    int64_t end = at + tensor_bytes(info);
    header[info.name] = {{"dtype", dtype_name(info.dtype)}, {"shape", info.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // keeps the data aligned in a mapping, as other writers do
  return text;
}

Status stream_tensor(WritableFile& file, const TensorInfo& info, const TensorBytes& bytes,
                     std::vector<std::byte>& buffer) {
  const int64_t element = size_bytes(info.dtype), total = numel(info.shape), piece = kPieceBytes / element;
  for (int64_t begin = 0; begin < total; begin += piece) {
    int64_t count = std::min(piece, total - begin);
    buffer.resize(static_cast<size_t>(count * element));
    TEPHRA_RETURN_IF_ERROR(bytes(info, begin, count, buffer.data()));
    TEPHRA_RETURN_IF_ERROR(file.append(buffer));
  }
  return ok_status();
}

}  // namespace

Status write_safetensors(Env& env, const std::string& path, const std::vector<TensorInfo>& tensors,
                         const std::map<std::string, std::string>& metadata, const TensorBytes& bytes) {
  const std::string partial = path + ".partial";
  if (env.exists(partial)) TEPHRA_RETURN_IF_ERROR(env.remove(partial));
  TEPHRA_ASSIGN_OR_RETURN(auto file, env.create(partial));
  std::string header = make_header(tensors, metadata);
  uint64_t header_bytes = header.size();
  auto write_all = [&]() -> Status {
    TEPHRA_RETURN_IF_ERROR(file->append(std::as_bytes(std::span(&header_bytes, 1))));
    TEPHRA_RETURN_IF_ERROR(file->append(std::as_bytes(std::span(header))));
    std::vector<std::byte> buffer;
    for (const TensorInfo& info : tensors) TEPHRA_RETURN_IF_ERROR(stream_tensor(*file, info, bytes, buffer));
    TEPHRA_RETURN_IF_ERROR(file->sync());
    return file->close();
  };
  if (Status status = write_all(); !status.ok()) {
    file.reset();
    (void)env.remove(partial);  // the first error is the one to report
    return status.with_context("write " + path);
  }
  return env.rename(partial, path);
}

Result<std::vector<std::string>> write_sharded_safetensors(Env& env, const std::string& directory,
                                                           const std::vector<TensorInfo>& tensors,
                                                           int64_t max_shard_bytes,
                                                           const std::map<std::string, std::string>& metadata,
                                                           const TensorBytes& bytes) {
  std::vector<std::vector<TensorInfo>> shards(1);
  int64_t filled = 0, total = 0;
  for (const TensorInfo& info : tensors) {
    int64_t size = tensor_bytes(info);
    if (!shards.back().empty() && filled + size > max_shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(info);
    filled += size;
    total += size;
  }
  std::vector<std::string> files;
  nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64] = "model.safetensors";
    if (shards.size() > 1) std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    TEPHRA_RETURN_IF_ERROR(write_safetensors(env, directory + "/" + name, shards[i], metadata, bytes));
    for (const TensorInfo& info : shards[i]) weight_map[info.name] = name;
    files.emplace_back(name);
  }
  const std::string index = directory + "/model.safetensors.index.json";
  if (shards.size() > 1) {
    nlohmann::ordered_json document = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
    TEPHRA_RETURN_IF_ERROR(write_file_atomic(env, index, document.dump(2) + "\n"));
    files.push_back("model.safetensors.index.json");
  } else if (env.exists(index)) {
    TEPHRA_RETURN_IF_ERROR(env.remove(index));  // of an earlier, sharded export into this folder
  }
  TEPHRA_RETURN_IF_ERROR(env.sync_directory(directory));
  return files;
}

}  // namespace tephra::model
