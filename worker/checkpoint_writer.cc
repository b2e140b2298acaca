#include "worker/checkpoint_writer.h"

#include <utility>

#include "storage/tensor_writer.h"

namespace tephra::worker {

storage::StateKind stored_kind(sharding::StateKind kind) {
  switch (kind) {
    case sharding::StateKind::kParameter: return storage::StateKind::kParameter;
    case sharding::StateKind::kFirstMoment: return storage::StateKind::kFirstMoment;
    case sharding::StateKind::kSecondMoment: return storage::StateKind::kSecondMoment;
  }
  TEPHRA_CHECK(false, "not a state kind");
}

CheckpointWriter::CheckpointWriter(Env* env, std::string packs_dir, Link* link)
    : env_(env), packs_dir_(std::move(packs_dir)), link_(link), thread_([this] { run(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    pace_.hurry();
  }
  changed_.notify_all();
  thread_.join();
}

void CheckpointWriter::wait_idle(std::unique_lock<std::mutex>& lock) {
  ++waiting_;
  pace_.hurry();
  changed_.wait(lock, [&] { return !pending_ && !writing_; });
  --waiting_;
}

Status CheckpointWriter::submit(CheckpointJob job) {
  std::unique_lock lock(mutex_);
  wait_idle(lock);
  TEPHRA_RETURN_IF_ERROR(failure_);
  pending_ = std::move(job);
  changed_.notify_all();
  return ok_status();
}

Status CheckpointWriter::submit_newest(CheckpointJob job, std::optional<int64_t>* dropped) {
  std::lock_guard lock(mutex_);
  TEPHRA_RETURN_IF_ERROR(failure_);
  if (pending_) *dropped = pending_->step;
  pace_.hurry();
  pending_ = std::move(job);
  changed_.notify_all();
  return ok_status();
}

bool CheckpointWriter::busy() const {
  std::lock_guard lock(mutex_);
  return pending_ || writing_;
}

Status CheckpointWriter::drain() {
  std::unique_lock lock(mutex_);
  wait_idle(lock);
  return failure_;
}

void CheckpointWriter::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return pending_ || stopping_; });
    if (!pending_) return;
    CheckpointJob job = std::move(*pending_);
    pending_.reset();
    writing_ = true;
    uint64_t bytes = 0;
    for (const sharding::StatePiece& piece : job.snapshot.pieces) bytes += piece.values.size() * sizeof(float);
    const bool now = waiting_ > 0 || stopping_;
    pace_.start(bytes, now ? std::chrono::nanoseconds(0) : job.spread);
    lock.unlock();
    Status status = write(job);
    job.snapshot = {};  // gives the buffers back before the next submit is let in
    lock.lock();
    writing_ = false;
    if (failure_.ok() && !status.ok())
      failure_ = status.with_context("checkpoint " + job.stage + "@" + std::to_string(job.step));
    changed_.notify_all();
  }
}

Status CheckpointWriter::write(const CheckpointJob& job) {
  TEPHRA_ASSIGN_OR_RETURN(auto writer, storage::TensorWriter::create(*env_, packs_dir_, job.pack,
                                                                     [&](uint64_t bytes) { pace_.wait(bytes); }));
  for (const sharding::StatePiece& piece : job.snapshot.pieces) {
    TEPHRA_RETURN_IF_ERROR(writer->add(piece.tensor, stored_kind(piece.kind), DType::kFloat32, piece.shape, piece.begin,
                                       static_cast<int64_t>(piece.values.size()),
                                       reinterpret_cast<const std::byte*>(piece.values.data())));
  }
  TEPHRA_ASSIGN_OR_RETURN(auto summary, writer->finish());
  cluster::ShardWritten message;
  message.stage = job.stage;
  message.step = job.step;
  message.shard_summary = storage::encode(summary);
  message.metadata_json = job.metadata_json;
  return link_->send(message);
}

}  // namespace tephra::worker
