// Names, listing, tags, pins, removal and leases.
#include <algorithm>

#include "base/diagnostic.h"
#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

// "JOB/STAGE@SUFFIX" split, or nothing.
struct StageName {
  std::string job, stage, suffix;
};
std::optional<StageName> split_stage_name(const std::string& name) {
  size_t slash = name.find('/'), at = name.rfind('@');
  if (slash == std::string::npos || at == std::string::npos || at < slash) return std::nullopt;
  return StageName{name.substr(0, slash), name.substr(slash + 1, at - slash - 1), name.substr(at + 1)};
}

Status check_tag(const std::string& tag) {
  auto stage = split_stage_name(tag);
  if (!stage) return check_name("tag", tag);
  TEPHRA_RETURN_IF_ERROR(check_name("job", stage->job));
  TEPHRA_RETURN_IF_ERROR(check_name("stage", stage->stage));
  if (stage->suffix != "best")
    return {Code::kInvalidArgument, "'" + tag + "' cannot be a tag; use a plain name or JOB/STAGE@best"};
  return ok_status();
}

// Pins live among the tags; ':' occurs in no tag.
constexpr std::string_view kPin = "pin:";

std::string pin_key(const std::string& checkpoint) { return std::string(kPin) + checkpoint; }

}  // namespace

Result<std::optional<Manifest>> Store::Impl::header(const CheckpointId& id) const {
  TEPHRA_ASSIGN_OR_RETURN(auto bytes, db->read(ColumnFamily::kCheckpoints, header_key(id)));
  if (!bytes) return std::optional<Manifest>();
  auto decoded = decode_manifest_header(*bytes);
  if (!decoded.ok()) return decoded.status().with_context("checkpoint " + id.name());
  return std::optional<Manifest>(std::move(*decoded));
}

Result<Manifest> Store::Impl::manifest(const CheckpointId& id) const {
  TEPHRA_ASSIGN_OR_RETURN(auto found, header(id));
  if (!found) return not_found(id.name());
  TEPHRA_ASSIGN_OR_RETURN(auto bytes, db->read(ColumnFamily::kCheckpoints, tensors_key(id)));
  if (!bytes) return not_found(id.name());  // removed between the two reads
  auto tensors = decode_manifest_tensors(*bytes);
  if (!tensors.ok()) return tensors.status().with_context("checkpoint " + id.name());
  found->tensors = std::move(*tensors);
  return std::move(*found);
}

Result<uint64_t> Store::Impl::sequence() const {
  TEPHRA_ASSIGN_OR_RETURN(auto text, db->read(ColumnFamily::kMeta, kSequenceKey));
  return text ? std::stoull(*text) : uint64_t{0};
}

Result<std::vector<ManifestFile>> Store::Impl::unknown_manifest_files() const {
  TEPHRA_ASSIGN_OR_RETURN(auto files, list_manifest_files(env, manifests_dir()));
  std::vector<ManifestFile> unknown;
  for (ManifestFile& file : files) {
    TEPHRA_ASSIGN_OR_RETURN(CheckpointId id, parse_checkpoint_id(file.checkpoint));
    TEPHRA_ASSIGN_OR_RETURN(auto known, header(id));
    if (!known || known->commit_sequence != file.sequence) unknown.push_back(std::move(file));
  }
  return unknown;
}

Status Store::Impl::erase(const Manifest& header) {
  std::vector<Put> puts;
  erase_checkpoint(id_of(header), &puts);
  TEPHRA_RETURN_IF_ERROR(db->write(puts, true));
  // The index first: a file that stays is found again by gc; the other order could leave a checkpoint without one.
  Status status = env.remove(manifests_dir() + "/" + manifest_file_name(header));
  if (!status.ok() && status.code() != Code::kNotFound) return status;
  return env.sync_directory(manifests_dir());
}

Status Store::Impl::not_found(const std::string& name) const {
  std::vector<std::string> names;
  (void)db->scan(ColumnFamily::kCheckpoints, "h/", [&](std::string_view key, std::string_view) {
    if (auto id = parse_header_key(key); id.ok()) names.push_back(id->name());
    return true;
  });
  (void)db->scan(ColumnFamily::kTags, "", [&](std::string_view key, std::string_view) {
    if (!key.starts_with(kPin)) names.emplace_back(key);
    return true;
  });
  std::string message = "store " + dir + " has no checkpoint '" + name + "'";
  std::string nearest = nearest_name(name, names);
  if (names.empty()) {
    message += "; it is empty";
  } else if (!nearest.empty()) {
    message += "; did you mean '" + nearest + "'?";
  } else {
    message += "; `tephra ckpt ls` lists what there is";
  }
  return {Code::kNotFound, message};
}

Result<std::vector<std::optional<ChunkLocation>>> Store::Impl::locations(const std::vector<ChunkRef>& chunks) const {
  std::vector<std::string> keys;
  keys.reserve(chunks.size());
  for (const ChunkRef& chunk : chunks) keys.push_back(chunk_key(chunk));
  TEPHRA_ASSIGN_OR_RETURN(auto values, db->read_many(ColumnFamily::kChunks, keys));
  std::vector<std::optional<ChunkLocation>> out(chunks.size());
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (!values[i]) continue;
    TEPHRA_ASSIGN_OR_RETURN(out[i], decode_chunk_location(*values[i]));
  }
  return out;
}

Result<std::map<std::string, std::string>> Store::Impl::tags() const {
  std::map<std::string, std::string> tags;
  TEPHRA_RETURN_IF_ERROR(db->scan(ColumnFamily::kTags, "", [&](std::string_view key, std::string_view value) {
    if (!key.starts_with(kPin)) tags.emplace(key, value);
    return true;
  }));
  return tags;
}

Result<std::set<std::string>> Store::Impl::pins() const {
  std::set<std::string> pins;
  TEPHRA_RETURN_IF_ERROR(db->scan(ColumnFamily::kTags, std::string(kPin), [&](std::string_view key, std::string_view) {
    pins.emplace(key.substr(kPin.size()));
    return true;
  }));
  return pins;
}

Result<std::vector<Lease>> Store::Impl::leases() const {
  std::vector<Lease> leases;
  Status bad;
  TEPHRA_RETURN_IF_ERROR(db->scan(ColumnFamily::kLeases, "", [&](std::string_view key, std::string_view value) {
    auto lease = decode_lease(key, value);
    if (!lease.ok()) bad = lease.status();
    if (lease.ok()) leases.push_back(std::move(*lease));
    return bad.ok();
  }));
  TEPHRA_RETURN_IF_ERROR(bad);
  return leases;
}

Result<std::string> Store::resolve(const std::string& name) const {
  auto stage = split_stage_name(name);
  if (!stage && name.find_first_of("/@") != std::string::npos)
    return Status(Code::kInvalidArgument, "'" + name +
                                              "' is not the name of a checkpoint, which is JOB/STAGE@STEP, "
                                              "JOB/STAGE@latest, JOB/STAGE@best or a tag");
  if (!stage || stage->suffix == "best") {
    TEPHRA_RETURN_IF_ERROR(check_tag(name));
    TEPHRA_ASSIGN_OR_RETURN(auto target, impl_->db->read(ColumnFamily::kTags, name));
    if (target) return std::move(*target);
    if (!stage) return impl_->not_found(name);
    TEPHRA_ASSIGN_OR_RETURN(auto any,
                            impl_->db->last_key(ColumnFamily::kCheckpoints, stage_key(stage->job, stage->stage)));
    if (!any) return impl_->not_found(name);
    return Status(Code::kNotFound, "no checkpoint of " + stage->job + "/" + stage->stage + " is tagged '" + name +
                                       "'; checkpoint.best in a recipe moves that tag, or `tephra ckpt tag` sets it");
  }
  if (stage->suffix == "latest") {
    TEPHRA_RETURN_IF_ERROR(check_name("job", stage->job));
    TEPHRA_RETURN_IF_ERROR(check_name("stage", stage->stage));
    TEPHRA_ASSIGN_OR_RETURN(auto key,
                            impl_->db->last_key(ColumnFamily::kCheckpoints, stage_key(stage->job, stage->stage)));
    if (!key) return impl_->not_found(name);
    TEPHRA_ASSIGN_OR_RETURN(CheckpointId id, parse_header_key(*key));
    return id.name();
  }
  TEPHRA_ASSIGN_OR_RETURN(CheckpointId id, parse_checkpoint_id(name));
  TEPHRA_ASSIGN_OR_RETURN(auto header, impl_->header(id));
  if (!header) return impl_->not_found(name);
  return id.name();
}

Result<Manifest> Store::get(const std::string& name) const {
  TEPHRA_ASSIGN_OR_RETURN(std::string full, resolve(name));
  TEPHRA_ASSIGN_OR_RETURN(CheckpointId id, parse_checkpoint_id(full));
  return impl_->manifest(id);
}

Result<std::vector<CheckpointInfo>> Store::list(const std::string& job) const {
  if (!job.empty()) TEPHRA_RETURN_IF_ERROR(check_name("job", job));
  TEPHRA_ASSIGN_OR_RETURN(const auto tags, impl_->tags());
  TEPHRA_ASSIGN_OR_RETURN(const auto pins, impl_->pins());
  std::map<std::string, std::vector<std::string>> tags_of;
  for (const auto& [tag, target] : tags) tags_of[target].push_back(tag);
  std::vector<CheckpointInfo> infos;
  Status bad;
  auto add = [&](std::string_view key, std::string_view value) {
    auto header = decode_manifest_header(value);
    if (!header.ok()) bad = header.status().with_context("checkpoint record " + std::string(key));
    if (!bad.ok()) return false;
    CheckpointInfo info;
    info.name = header->name();
    info.header = std::move(*header);
    if (const auto found = tags_of.find(info.name); found != tags_of.end()) info.tags = found->second;
    info.pinned = pins.contains(info.name);
    infos.push_back(std::move(info));
    return true;
  };
  TEPHRA_RETURN_IF_ERROR(impl_->db->scan(ColumnFamily::kCheckpoints, job.empty() ? "h/" : "h/" + job + "/", add));
  TEPHRA_RETURN_IF_ERROR(bad);
  return infos;
}

Result<LocatedManifest> Store::locate(const Manifest& manifest) const {
  LocatedManifest located{manifest, {}};
  std::vector<ChunkRef> chunks = chunks_of(manifest.tensors);
  TEPHRA_ASSIGN_OR_RETURN(auto places, impl_->locations(chunks));
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (!places[i])
      return Status(Code::kCorruption, "checkpoint " + manifest.name() + " needs chunk " + chunks[i].hash.hex() +
                                           ", which the store's index does not have; `tephra ckpt verify " +
                                           manifest.name() + "` lists all that is missing");
    located.chunks.emplace_back(chunks[i], std::move(*places[i]));
  }
  return located;
}

Result<std::unique_ptr<CheckpointReader>> Store::reader(const std::string& name) const {
  TEPHRA_ASSIGN_OR_RETURN(Manifest manifest, get(name));
  TEPHRA_ASSIGN_OR_RETURN(LocatedManifest located, locate(manifest));
  return std::make_unique<CheckpointReader>(impl_->env, impl_->packs_dir(), std::move(located));
}

Status Store::tag(const std::string& tag, const std::string& checkpoint, bool move) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  TEPHRA_RETURN_IF_ERROR(check_tag(tag));
  std::lock_guard lock(impl_->mutex);
  TEPHRA_ASSIGN_OR_RETURN(std::string full, resolve(checkpoint));
  TEPHRA_ASSIGN_OR_RETURN(auto target, impl_->db->read(ColumnFamily::kTags, tag));
  if (target && *target == full) return ok_status();
  if (target && !move)
    return {Code::kAlreadyExists, "tag '" + tag + "' is on " + *target + "; give --force to move it to " + full};
  return impl_->db->write({{ColumnFamily::kTags, tag, full}}, true);
}

Status Store::untag(const std::string& tag) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  TEPHRA_RETURN_IF_ERROR(check_tag(tag));
  std::lock_guard lock(impl_->mutex);
  TEPHRA_ASSIGN_OR_RETURN(auto target, impl_->db->read(ColumnFamily::kTags, tag));
  if (!target)
    return {Code::kNotFound, "store " + impl_->dir + " has no tag '" + tag + "'; `tephra ckpt ls` shows the tags"};
  return impl_->db->write({{ColumnFamily::kTags, tag, "", true}}, true);
}

Result<std::map<std::string, std::string>> Store::tags() const { return impl_->tags(); }

Status Store::pin(const std::string& checkpoint) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  std::lock_guard lock(impl_->mutex);
  TEPHRA_ASSIGN_OR_RETURN(std::string full, resolve(checkpoint));
  return impl_->db->write({{ColumnFamily::kTags, pin_key(full), full}}, true);
}

Status Store::unpin(const std::string& checkpoint) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  std::lock_guard lock(impl_->mutex);
  TEPHRA_ASSIGN_OR_RETURN(std::string full, resolve(checkpoint));
  TEPHRA_ASSIGN_OR_RETURN(auto pinned, impl_->db->read(ColumnFamily::kTags, pin_key(full)));
  if (!pinned) return {Code::kNotFound, full + " is not pinned"};
  return impl_->db->write({{ColumnFamily::kTags, pin_key(full), "", true}}, true);
}

Result<std::set<std::string>> Store::pins() const { return impl_->pins(); }

Status Store::Impl::check_unheld(const std::string& full) const {
  TEPHRA_ASSIGN_OR_RETURN(const auto tags, this->tags());
  for (const auto& [tag, target] : tags)
    if (target == full)
      return {Code::kBusy, RetryClass::kPermanent, full + " is tagged '" + tag + "'; move or remove that tag first"};
  TEPHRA_ASSIGN_OR_RETURN(const auto pins, this->pins());
  if (pins.contains(full)) return {Code::kBusy, RetryClass::kPermanent, full + " is pinned; unpin it first"};
  TEPHRA_ASSIGN_OR_RETURN(const auto leases, this->leases());
  for (const Lease& lease : leases)
    if (std::count(lease.checkpoints.begin(), lease.checkpoints.end(), full) > 0)
      return {Code::kBusy, full + " is in use by " + lease.holder + "; remove it after that has ended"};
  return ok_status();
}

Status Store::remove(const std::string& name) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  std::lock_guard lock(impl_->mutex);
  TEPHRA_ASSIGN_OR_RETURN(std::string full, resolve(name));
  TEPHRA_RETURN_IF_ERROR(impl_->check_unheld(full));
  TEPHRA_ASSIGN_OR_RETURN(CheckpointId id, parse_checkpoint_id(full));
  TEPHRA_ASSIGN_OR_RETURN(auto header, impl_->header(id));
  if (!header) return impl_->not_found(full);
  return impl_->erase(*header);
}

Status Store::acquire_lease(const Lease& lease) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  if (lease.pack_prefix.empty()) return {Code::kInvalidArgument, "a lease without a pack prefix"};
  std::lock_guard lock(impl_->mutex);
  for (const std::string& name : lease.checkpoints) {
    TEPHRA_ASSIGN_OR_RETURN(CheckpointId id, parse_checkpoint_id(name));
    TEPHRA_ASSIGN_OR_RETURN(auto header, impl_->header(id));
    if (!header) return impl_->not_found(name);
  }
  TEPHRA_RETURN_IF_ERROR(impl_->db->write({{ColumnFamily::kLeases, lease.pack_prefix, encode(lease)}}, true));
  impl_->released_prefixes.erase(lease.pack_prefix);
  return ok_status();
}

Status Store::release_lease(const std::string& pack_prefix) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  std::lock_guard lock(impl_->mutex);
  TEPHRA_ASSIGN_OR_RETURN(auto lease, impl_->db->read(ColumnFamily::kLeases, pack_prefix));
  if (!lease) return ok_status();
  TEPHRA_RETURN_IF_ERROR(impl_->db->write({{ColumnFamily::kLeases, pack_prefix, "", true}}, true));
  impl_->released_prefixes.insert(pack_prefix);
  return ok_status();
}

Result<std::vector<Lease>> Store::leases() const { return impl_->leases(); }

}  // namespace tephra::storage
