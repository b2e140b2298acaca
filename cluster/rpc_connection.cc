#include "cluster/rpc_connection.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cstring>

namespace tephra::cluster {
namespace {
using boost::system::error_code;

constexpr char kMagic[] = "TPHR";
constexpr size_t kReadStepBytes = 1u << 20;  // memory grows as bytes arrive, never by what a length field claims
constexpr size_t kWriteBatch = 32;           // frames a write call

uint32_t load_u32(const unsigned char* b) {
  return b[0] | static_cast<uint32_t>(b[1]) << 8 | static_cast<uint32_t>(b[2]) << 16 |
         static_cast<uint32_t>(b[3]) << 24;
}
void store_u32(uint32_t value, char* out) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (8 * i) & 0xff);
}

std::string words_for(ProtocolVersions versions) {
  if (versions.oldest == versions.newest) return "version " + std::to_string(versions.newest);
  return "versions " + std::to_string(versions.oldest) + " to " + std::to_string(versions.newest);
}

Status lost(const error_code& error, std::string_view during) {
  if (error == boost::asio::error::eof) {
    return {Code::kPeerLost, RetryClass::kNewAttempt, "the peer closed the connection " + std::string(during)};
  }
  return {Code::kPeerLost, RetryClass::kNewAttempt,
          "the connection broke " + std::string(during) + ": " + error.message()};
}
}  // namespace

std::array<char, kPreambleBytes> preamble(ProtocolVersions ours) {
  std::array<char, kPreambleBytes> bytes;
  std::memcpy(bytes.data(), kMagic, 4);
  store_u32(ours.oldest | static_cast<uint32_t>(ours.newest) << 16, bytes.data() + 4);
  return bytes;
}

Result<uint16_t> agree(const std::array<char, kPreambleBytes>& bytes, ProtocolVersions ours) {
  if (std::memcmp(bytes.data(), kMagic, 4) != 0) {
    return Status(Code::kUnsupported, "the peer does not speak Tephra's rank protocol; check the address and the port");
  }
  const uint32_t word = load_u32(reinterpret_cast<const unsigned char*>(bytes.data()) + 4);
  const ProtocolVersions theirs{static_cast<uint16_t>(word), static_cast<uint16_t>(word >> 16)};
  const uint16_t newest = std::min(ours.newest, theirs.newest);
  if (theirs.oldest >= 1 && newest >= std::max(ours.oldest, theirs.oldest)) return newest;
  return Status(Code::kUnsupported, "the peer speaks " + words_for(theirs) + " of the rank protocol and this build " +
                                        words_for(ours) +
                                        "; use builds of tephra and tephra-worker that have one in common");
}

void configure_socket(boost::asio::ip::tcp::socket& socket) {
  const int fd = socket.native_handle();
  const int on = 1, idle_s = 10, interval_s = 5, probes = 3, unacknowledged_ms = 30000;
  // Failures cost latency or a later notice of a dead host, so they are not worth refusing the connection for.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof(unacknowledged_ms));
  fcntl(fd, F_SETFD, FD_CLOEXEC);
}

Connection::Connection(boost::asio::ip::tcp::socket socket, RpcLimits limits)
    : limits_(limits),
      socket_(std::move(socket)),
      watch_(socket_.get_executor()),
      close_timer_(socket_.get_executor()) {}

void Connection::start(Events events, bool expect_preamble, size_t frame_bytes_max) {
  events_ = std::move(events);
  frame_bytes_max_ = frame_bytes_max;
  expect_preamble ? read_preamble() : read_header();
}

void Connection::watch(std::chrono::milliseconds timeout, std::string words) {
  watch_.expires_after(timeout);
  watch_.async_wait([self = shared_from_this(), words = std::move(words)](const error_code& error) {
    if (!error) self->end({Code::kTimeout, words});
  });
}

void Connection::read_preamble() {
  // Ours goes out at once, so that a peer of another version can name what it found.
  preamble_out_ = preamble(limits_.versions);
  writing_ = true;
  boost::asio::async_write(socket_, boost::asio::buffer(preamble_out_),
                           [self = shared_from_this()](const error_code& error, size_t) {
                             self->writing_ = false;
                             if (error) return self->end(lost(error, "while greeting"));
                             self->write_next();
                           });
  boost::asio::async_read(socket_, boost::asio::buffer(preamble_in_),
                          [self = shared_from_this()](const error_code& error, size_t) {
                            if (error) return self->end(lost(error, "while greeting"));
                            const Result<uint16_t> version = agree(self->preamble_in_, self->limits_.versions);
                            if (!version.ok()) return self->end(version.status());
                            self->version_ = *version;
                            self->read_header();
                          });
}

void Connection::read_header() {
  if (ended_) return;
  boost::asio::async_read(
      socket_, boost::asio::buffer(header_), [self = shared_from_this()](const error_code& error, size_t got) {
        if (error) return self->end(lost(error, got == 0 ? "between messages" : "in the middle of a message"));
        const size_t length = load_u32(self->header_.data());
        if (length == 0 || length > self->frame_bytes_max_) {
          return self->end({Code::kCorruption, "the peer announced a message of " + std::to_string(length) +
                                                   " bytes, and 1 to " + std::to_string(self->frame_bytes_max_) +
                                                   " are allowed here"});
        }
        self->body_.clear();
        self->read_body(length);
      });
}

void Connection::read_body(size_t length) {
  const size_t have = body_.size();
  const size_t want = std::min(kReadStepBytes, length - have);
  body_.resize(have + want);
  boost::asio::async_read(socket_, boost::asio::buffer(body_.data() + have, want),
                          [self = shared_from_this(), length](const error_code& error, size_t) {
                            if (error) return self->end(lost(error, "in the middle of a message"));
                            if (self->body_.size() < length) return self->read_body(length);
                            Status status = self->deliver();
                            if (!status.ok()) return self->end(status);
                            if (self->body_.capacity() > kReadStepBytes) std::string().swap(self->body_);
                            self->read_header();
                          });
}

Status Connection::deliver() {
  {
    std::lock_guard lock(mutex_);
    if (discard_) return {};  // only read to get at the peer's end of stream
  }
  try {
    return events_.on_frame(body_);
  } catch (const std::exception& e) {  // out of memory, or a callback's fault
    return {Code::kInternal, std::string("handling a message failed: ") + e.what()};
  }
}

Status Connection::queue(std::string payload) {
  std::string frame(4, '\0');
  store_u32(static_cast<uint32_t>(payload.size()), frame.data());
  frame += payload;
  {
    std::lock_guard lock(mutex_);
    if (closing_) return reason_;
    if (queued_messages_ >= limits_.queue_messages_max || queued_bytes_ + frame.size() > limits_.queue_bytes_max) {
      return {Code::kBusy, "the peer reads too slowly: " + std::to_string(queued_messages_) + " messages (" +
                               std::to_string(queued_bytes_) + " bytes) are waiting to be sent"};
    }
    ++queued_messages_;
    queued_bytes_ += frame.size();
    queue_.push_back(std::move(frame));
  }
  boost::asio::post(socket_.get_executor(), [self = shared_from_this()] { self->write_next(); });
  return {};
}

void Connection::write_next() {
  if (writing_ || ended_) return;
  in_flight_.clear();
  bool closing;
  {
    std::lock_guard lock(mutex_);
    while (!queue_.empty() && in_flight_.size() < kWriteBatch) {
      in_flight_.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    closing = closing_;
  }
  if (in_flight_.empty()) {
    if (closing) finish_closing();
    return;
  }
  std::vector<boost::asio::const_buffer> buffers;
  for (const std::string& frame : in_flight_) buffers.push_back(boost::asio::buffer(frame));
  writing_ = true;
  boost::asio::async_write(socket_, buffers, [self = shared_from_this()](const error_code& error, size_t bytes) {
    self->writing_ = false;
    if (error) return self->write_failed(lost(error, "while sending"));
    {
      std::lock_guard lock(self->mutex_);
      self->queued_messages_ -= self->in_flight_.size();
      self->queued_bytes_ -= bytes;
    }
    self->written_.notify_all();
    self->write_next();
  });
}

void Connection::write_failed(Status reason) {
  // The peer's last words may still lie unread; the read loop delivers them and ends, or the watch does.
  {
    std::lock_guard lock(mutex_);
    if (!closing_) reason_ = reason;
    closing_ = true;
    queue_.clear();
  }
  written_.notify_all();
  watch(limits_.close_timeout, reason.message());
}

Status Connection::wait_written(Deadline deadline) {
  std::unique_lock lock(mutex_);
  while (queued_messages_ > 0 && !closing_) {
    if (deadline.passed())
      return {Code::kTimeout, std::to_string(queued_messages_) + " messages could not be sent in time"};
    if (deadline.at == SteadyTime::max()) {
      written_.wait(lock);
    } else {
      written_.wait_until(lock, deadline.at);
    }
  }
  return closing_ ? reason_ : Status();
}

void Connection::close(Status reason) {
  {
    std::lock_guard lock(mutex_);
    discard_ = true;
    if (closing_) return;
    closing_ = true;
    reason_ = std::move(reason);
  }
  written_.notify_all();
  boost::asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->ended_) return;
    self->watch_.cancel();
    self->close_timer_.expires_after(self->limits_.close_timeout);
    self->close_timer_.async_wait([self](const error_code& error) {
      if (!error) self->end({});
    });
    self->write_next();
  });
}

void Connection::finish_closing() {
  if (shut_) return;
  shut_ = true;
  // Closing with unread bytes would send a reset, which can destroy what the peer has not read yet. So only our
  // direction is shut; the read loop ends the connection at the peer's end of stream, or the timer does.
  error_code ignored;
  socket_.shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
}

void Connection::drop() {
  if (ended_) return;
  ended_ = true;
  {
    std::lock_guard lock(mutex_);
    if (!closing_) reason_ = Status(Code::kCancelled, "this side stopped");
    closing_ = true;
  }
  written_.notify_all();
  error_code ignored;
  socket_.close(ignored);
  watch_.cancel();
  close_timer_.cancel();
}

void Connection::end(Status reason) {
  if (ended_) return;
  Status first;
  {
    std::lock_guard lock(mutex_);
    if (!closing_) reason_ = std::move(reason);  // else: why close() was called
    closing_ = true;
    first = reason_;
  }
  drop();
  Events events = std::move(events_);  // they may hold what owns this connection
  if (events.on_end) events.on_end(first);
}

}  // namespace tephra::cluster
