#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/post.hpp>

#include "cluster/http/http_connection.h"

namespace tephra::cluster {

namespace asio = boost::asio;
using error_code = boost::system::error_code;

void Ending::on_end(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (!ended_) {
      callback_ = std::move(callback);
      return;
    }
  }
  callback();
}

void Ending::end() {
  std::function<void()> callback;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    callback = std::exchange(callback_, nullptr);
  }
  if (callback) callback();
}

bool ConnectionStream::write(const std::string& bytes) {
  bool overflow = false;
  {
    std::lock_guard lock(mutex_);
    if (ended_ || closing_ || overflowed_) return false;
    overflow = overflowed_ = waiting_.size() + bytes.size() > shared_.limits.stream_bytes_max;
    if (!overflow) waiting_ += bytes;
  }
  auto self = shared_from_this();
  asio::post(shared_.io, [self, overflow] {
    if (self->connection_ == nullptr) return;
    if (overflow)
      self->connection_->drop();
    else
      self->connection_->pump();
  });
  return !overflow;
}

void ConnectionStream::close() {
  {
    std::lock_guard lock(mutex_);
    if (ended_ || closing_) return;
    closing_ = true;
  }
  auto self = shared_from_this();
  asio::post(shared_.io, [self] {
    if (self->connection_ != nullptr) self->connection_->pump();
  });
}

void ConnectionStream::repeat(std::chrono::milliseconds interval, std::function<bool()> work) {
  auto self = shared_from_this();
  asio::post(shared_.io, [self, interval, work = std::move(work)]() mutable { self->tick(interval, std::move(work)); });
}

void ConnectionStream::tick(std::chrono::milliseconds interval, std::function<bool()> work) {
  if (connection_ == nullptr) return;
  timer_.expires_after(interval);
  auto self = shared_from_this();
  timer_.async_wait([self, interval, work = std::move(work)](error_code error) mutable {
    if (error || self->connection_ == nullptr) return;
    self->shared_.pool->post([self, interval, work = std::move(work)]() mutable {
      if (!work()) return;
      asio::post(self->shared_.io,
                 [self, interval, work = std::move(work)]() mutable { self->tick(interval, std::move(work)); });
    });
  });
}

void ConnectionStream::ended() {
  connection_ = nullptr;
  timer_.cancel();
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ending_.end();
}

std::string ConnectionStream::take() {
  std::lock_guard lock(mutex_);
  return std::exchange(waiting_, {});
}

bool ConnectionStream::closing() {
  std::lock_guard lock(mutex_);
  return closing_;
}

void ConnectionReply::send(HttpResponse response) {
  auto self = shared_from_this();
  asio::post(shared_.io, [self, response = std::move(response)]() mutable {
    const auto connection = std::exchange(self->connection_, nullptr);
    if (connection != nullptr) connection->reply(std::move(response));
  });
}

void ConnectionReply::ended() {
  connection_ = nullptr;
  ending_.end();
}

}  // namespace tephra::cluster
