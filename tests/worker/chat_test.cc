// A chat in the terminal: the conversation grows turn by turn, commands do what they say, an interrupt ends a reply and not the chat,
// and what fails leaves the conversation as it was.
#include "worker/chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/utf8.h"
#include "tests/worker/tiny_chat.h"
#include "worker/inference.h"

namespace tephra::worker {
namespace {

using ::testing::HasSubstr;

class ChatTest : public TinyChatTest {
 protected:
  // The reply to these questions (a picture with the first one), each asked after the ones before it.
  std::string expected(const std::vector<std::string>& questions, bool image, int64_t tokens = 6) {
    auto loaded = load_model(named());
    EXPECT_TRUE(loaded.ok()) << loaded.status().to_string();
    ChatRequest request;
    request.max_new_tokens = tokens;
    std::string last;
    for (const std::string& question : questions) {
      const bool shown = image && request.turns.empty();
      request.turns.push_back({"human", (shown ? "<image>\n" : "") + question});
      if (shown) request.images.push_back(*data::load_image(picture()));
      auto answer = reply(*loaded, request);
      EXPECT_TRUE(answer.ok()) << answer.status().to_string();
      last = answer->text;
      request.turns.push_back({"gpt", last});
    }
    return last;
  }

  Status talk(const std::string& typed, int64_t tokens = 6) {
    std::istringstream in(typed);
    ChatOptions options;
    options.model = named();
    options.max_new_tokens = tokens;
    options.prompts = false;
    return chat(options, in, out_, err_);
  }
  std::vector<std::string> lines() const {
    std::vector<std::string> all;
    std::istringstream in(out_.str());
    for (std::string line; std::getline(in, line);) all.emplace_back(data::strip(line));
    return all;
  }

  std::ostringstream out_, err_;
};

TEST_F(ChatTest, EachReplySeesTheTurnsBeforeIt) {
  ASSERT_TRUE(talk("What is it?\nWhere is it?\n").ok());
  EXPECT_EQ(lines(), (std::vector<std::string>{expected({"What is it?"}, false),
                                               expected({"What is it?", "Where is it?"}, false)}));
  EXPECT_NE(lines()[1], expected({"Where is it?"}, false));
}

TEST_F(ChatTest, APictureGoesWithTheNextQuestionAndResetForgets) {
  ASSERT_TRUE(talk("/image " + picture() + "\nWhat is it?\n/reset\nWhat is it?\n/quit\nWhat is it?\n").ok());
  EXPECT_EQ(lines(), (std::vector<std::string>{expected({"What is it?"}, true), expected({"What is it?"}, false)}));
  EXPECT_NE(lines()[0], lines()[1]);
}

TEST_F(ChatTest, SeveralPicturesGoWithOneQuestion) {
  const auto png = data::encode_png({8, 8, std::vector<uint8_t>(192, 240)});
  const std::string light = dir_.path() + "/light.png";
  ASSERT_TRUE(write_file_atomic(Env::posix(), light, {reinterpret_cast<const char*>(png->data()), png->size()}).ok());
  auto loaded = load_model(named());
  ASSERT_TRUE(loaded.ok());
  const auto answer = [&](const std::string& question, const std::vector<std::string>& files) {
    ChatRequest request;
    request.turns = {{"human", question}};
    for (const std::string& file : files) request.images.push_back(*data::load_image(file));
    request.max_new_tokens = 6;
    return *reply(*loaded, request);
  };
  const ChatReply both = answer("<image>\n<image>\nSame?", {picture(), light});
  EXPECT_EQ(both.prompt_tokens, answer("<image>\n<image>\nSame?", {light, picture()}).prompt_tokens);
  EXPECT_NE(both.ids, answer("<image>\n<image>\nSame?", {light, light}).ids);
  ASSERT_TRUE(talk("/image " + picture() + "\n/image " + light + "\nSame?\n/reset\n/image " + light + "\n/image " +
                   picture() + "\nIs <image> like <image>?\n")
                  .ok());
  EXPECT_EQ(lines(),
            (std::vector<std::string>{both.text, answer("Is <image> like <image>?", {light, picture()}).text}));

  GenerateRequest request;
  request.model = named();
  request.prompt = "Same?";
  request.images = {picture(), light};
  request.max_new_tokens = 6;
  auto generated = generate(request);
  ASSERT_TRUE(generated.ok()) << generated.status().to_string();
  EXPECT_EQ(nlohmann::json::parse(*generated)["token_ids"], both.ids);
  request.prompt = "Is <image> alone?";
  EXPECT_THAT(generate(request).status().message(), HasSubstr("1 <image> tags and 2 pictures"));
}

TEST_F(ChatTest, WhatFailsIsToldAndTheConversationStays) {
  ASSERT_TRUE(talk("/image " + dir_.path() + "/none.png\n/imago\nWhat is it?\n").ok());
  EXPECT_THAT(err_.str(), HasSubstr(dir_.path() + "/none.png"));
  EXPECT_THAT(err_.str(), HasSubstr("no command /imago"));
  EXPECT_EQ(lines(), std::vector<std::string>{expected({"What is it?"}, false)});
  out_.str("");
  ASSERT_TRUE(talk(std::string(2000, 'x') + "\nWhat is it?\n").ok());
  EXPECT_THAT(err_.str(), HasSubstr("context of 512"));
  EXPECT_EQ(lines(), std::vector<std::string>{expected({"What is it?"}, false)});
}

// Raises SIGINT once something was written.
class Interrupting : public std::stringbuf {
 protected:
  std::streamsize xsputn(const char* text, std::streamsize count) override {
    if (count > 0 && ++written_ == 1) std::raise(SIGINT);
    return std::stringbuf::xsputn(text, count);
  }

 private:
  int written_ = 0;
};

TEST_F(ChatTest, AnInterruptEndsTheReplyAndNotTheChat) {
  Interrupting buffer;
  std::ostream out(&buffer);
  std::istringstream in("What is it?\nAnd now?\n");
  ChatOptions options;
  options.model = named();
  options.max_new_tokens = 40;
  options.prompts = false;
  ASSERT_TRUE(chat(options, in, out, err_).ok());
  EXPECT_THAT(err_.str(), HasSubstr("(stopped)"));
  out_ << buffer.str();
  ASSERT_EQ(lines().size(), 2u);
  EXPECT_LT(lines()[0].size(), expected({"What is it?"}, false, 40).size());
  EXPECT_FALSE(lines()[1].empty());
}

TEST_F(ChatTest, StopTextsAndTagsAreChecked) {
  auto loaded = load_model(named());
  ASSERT_TRUE(loaded.ok());
  ChatRequest request;
  request.turns = {{"human", "What is it?"}};
  request.max_new_tokens = 20;
  const ChatReply free = *reply(*loaded, request);
  ASSERT_GT(free.text.size(), 6u);
  const std::string stop = free.text.substr(free.text.size() / 2, 2);
  request.stop = {stop};
  const ChatReply cut = *reply(*loaded, request);
  EXPECT_EQ(cut.text, data::strip(free.text.substr(0, free.text.find(stop))));
  EXPECT_EQ(cut.finish, ChatReply::Finish::kStop);
  EXPECT_LT(cut.ids.size(), free.ids.size());
  request.images.push_back({8, 8, std::vector<uint8_t>(192)});
  EXPECT_THAT(reply(*loaded, request).status().message(), HasSubstr("0 <image> tags and 1 pictures"));
}

TEST_F(ChatTest, AnUnknownDtypeIsNamed) {
  InferenceModel from = named();
  from.dtype = "int8";
  EXPECT_THAT(load_model(from).status().message(), HasSubstr("'int8': there are float32, float16 and bfloat16"));
  from.dtype = "bfloat16";
  EXPECT_TRUE(load_model(from).ok());
}

}  // namespace
}  // namespace tephra::worker
