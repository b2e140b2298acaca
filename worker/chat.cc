#include "worker/chat.h"

#include <csignal>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <vector>

namespace tephra::worker {
namespace {

volatile std::sig_atomic_t interrupted = 0;

// SIGINT sets the flag. Without SA_RESTART: a read of the next question ends too.
class InterruptHandler {
 public:
  InterruptHandler() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, &before_);
    interrupted = 0;
  }
  ~InterruptHandler() { sigaction(SIGINT, &before_, nullptr); }
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;

 private:
  struct sigaction before_ {};
};

constexpr const char* kHelp =
    "/image FILE  show one more picture with the next question\n"
    "/reset       forget the conversation\n"
    "/quit        leave; Ctrl-C stops a reply\n";

class Chat {
 public:
  Chat(const ChatOptions& options, LoadedModel model, std::ostream& out, std::ostream& err)
      : options_(options), model_(std::move(model)), out_(out), err_(err) {}

  void show(const std::string& file) {
    auto image = data::load_image(file);
    if (!image.ok()) {
      err_ << "tephra: " << image.status().message() << std::endl;
      return;
    }
    next_images_.push_back(std::move(*image));
    err_ << "(" << file << " goes with the next question)" << std::endl;
  }

  // Whether to go on.
  bool line(const std::string& text) {
    if (text == "/quit") return false;
    if (text == "/help") {
      err_ << kHelp << std::flush;
    } else if (text == "/reset") {
      request_.turns.clear();
      request_.images.clear();
      next_images_.clear();
      err_ << "(a new conversation)" << std::endl;
    } else if (text.starts_with("/image ")) {
      show(text.substr(7));
    } else if (text.starts_with("/")) {
      err_ << "tephra: there is no command " << text.substr(0, text.find(' ')) << "; there are\n"
           << kHelp << std::flush;
    } else if (!text.empty()) {
      ask(text);
    }
    return true;
  }

 private:
  void write_end(const ChatReply& answer) {
    if (options_.json) {
      const char* finish = answer.finish == ChatReply::Finish::kInterrupted ? "stopped"
                           : answer.finish == ChatReply::Finish::kLength    ? "length"
                                                                            : "stop";
      const nlohmann::json line = {{"text", answer.text}, {"token_ids", answer.ids}, {"finish", finish}};
      out_ << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    out_ << std::endl;
  }

  void ask(const std::string& question) {
    ChatRequest request = request_;
    request.turns.push_back({"human", with_tags(question, next_images_.size())});
    request.images.insert(request.images.end(), next_images_.begin(), next_images_.end());
    request.max_new_tokens = options_.max_new_tokens;
    request.sampling = options_.sampling;
    request.on_text = [&](std::string_view piece) {
      if (!options_.json) out_ << piece << std::flush;
      return interrupted == 0;
    };
    auto answer = reply(model_, request);
    if (!answer.ok()) {
      err_ << "tephra: " << answer.status().message() << std::endl;
      return;
    }
    write_end(*answer);
    if (answer->finish == ChatReply::Finish::kInterrupted) err_ << "(stopped)" << std::endl;
    if (answer->finish == ChatReply::Finish::kLength)
      err_ << "(cut off after " << answer->ids.size() << " tokens)" << std::endl;
    interrupted = 0;
    request.turns.push_back({"gpt", answer->text});
    request_ = std::move(request);
    next_images_.clear();
  }

  const ChatOptions& options_;
  LoadedModel model_;
  std::ostream& out_;
  std::ostream& err_;
  ChatRequest request_;  // the conversation so far
  std::vector<data::Image> next_images_;
};

}  // namespace

Status chat(const ChatOptions& options, std::istream& in, std::ostream& out, std::ostream& err) {
  TEPHRA_RETURN_IF_ERROR(model::check_sampling(options.sampling));
  TEPHRA_ASSIGN_OR_RETURN(LoadedModel model, load_model(options.model));
  const InterruptHandler handler;
  Chat session(options, std::move(model), out, err);
  if (options.prompts) err << "Ask, or /help. Ctrl-C stops a reply, and here ends the chat." << std::endl;
  for (const std::string& file : options.images) session.show(file);
  for (std::string text;;) {
    if (options.prompts) err << "> " << std::flush;
    if (!std::getline(in, text) || !session.line(text)) break;
  }
  if (options.prompts) err << std::endl;
  return ok_status();
}

}  // namespace tephra::worker
