// What is proved: good replies are read as they are, and each thing that must not be trained on is rejected for its reason.
#include "data/datagen/reply_check.h"

#include <gtest/gtest.h>

namespace tephra::data {
namespace {

constexpr const char* kGood =
    "Question: What is on the table?\nAnswer: A bowl of fruit.\n\nQuestion: How many cups are there?\nAnswer: There are two cups,\none of them blue.\n";

std::string reason(SampleKind kind, const std::string& text, const std::string& finish = "stop") {
  const CheckedReply reply = check_reply(kind, "Describe it.", text, finish);
  EXPECT_EQ(reply.exchanges.empty(), !reply.reason.empty()) << text;
  return reply.reason;
}

TEST(ReplyCheck, ReadsADialogue) {
  const CheckedReply reply = check_reply(SampleKind::kConversation, "", kGood, "stop");
  ASSERT_EQ(reply.reason, "") << reply.detail;
  ASSERT_EQ(reply.exchanges.size(), 2u);
  EXPECT_EQ(reply.exchanges[0].question, "What is on the table?");
  EXPECT_EQ(reply.exchanges[1].answer, "There are two cups,\none of them blue.");
  EXPECT_EQ(check_reply(SampleKind::kComplex, "", "**Question 1:** Why?\n**Answer:** Because.", "").exchanges[0].answer,
            "Because.");
  const CheckedReply detail =
      check_reply(SampleKind::kDetail, "Describe it.", "A bowl stands on a table beside two cups. \n", "stop");
  EXPECT_EQ(detail.exchanges[0].question, "Describe it.");
  EXPECT_EQ(detail.exchanges[0].answer, "A bowl stands on a table beside two cups.");
}

TEST(ReplyCheck, RejectsForAReason) {
  const SampleKind talk = SampleKind::kConversation, complex = SampleKind::kComplex, detail = SampleKind::kDetail;
  EXPECT_EQ(reason(talk, kGood, "length"), "cut_off");
  EXPECT_EQ(reason(talk, ""), "format");
  EXPECT_EQ(reason(talk, "Just some prose about a table."), "format");
  EXPECT_EQ(reason(talk, "Here you are:\nQuestion: a b?\nAnswer: c."), "format");
  EXPECT_EQ(reason(talk, "Question: a?\nQuestion: b?\nAnswer: c."), "format");
  EXPECT_EQ(reason(talk, "Answer: c."), "format");
  EXPECT_EQ(reason(talk, "Question: a?\nAnswer: b.\nQuestion: c?"), "format");
  EXPECT_EQ(reason(talk, "Question: a?\nAnswer: <image> b."), "format");
  EXPECT_EQ(reason(complex, kGood), "format") << "one question was asked for";
  EXPECT_EQ(reason(talk, "Question: a?\nAnswer: ...\n"), "empty_turn");
  EXPECT_EQ(reason(talk, "Question:\nAnswer: b.\n"), "empty_turn");
  EXPECT_EQ(reason(detail, " \n"), "empty_turn");
  EXPECT_EQ(reason(talk, "I'm sorry, but I can't help with that."), "refusal");
  EXPECT_EQ(reason(complex, "Question: Why?\nAnswer: As an AI language model I have no eyes."), "refusal");
  EXPECT_EQ(reason(detail, "I cannot describe pictures without seeing them, of course."), "refusal");
  EXPECT_EQ(reason(talk, "Question: a?\nAnswer: The caption says that it is red."), "leak");
  EXPECT_EQ(reason(talk, "Question: Which bounding box is larger?\nAnswer: The left one."), "leak");
  EXPECT_EQ(reason(detail, "A dog sits at [0.1, 0.2, 0.3, 0.4] and looks at the ball there."), "leak");
  EXPECT_EQ(reason(detail, "A dog sits at (12, 40, 200, 310) and looks at the ball there."), "coordinates");
  EXPECT_EQ(reason(detail, "A dog sits at [-0.1, 0.2] and looks at the ball over there."), "coordinates");
  EXPECT_EQ(reason(talk, "Question: What?\nAnswer: a.\nQuestion: what\nAnswer: b."), "duplicate");
  EXPECT_EQ(reason(detail, "A dog and a ball."), "too_short");
  std::string many;
  for (int i = 0; i < 13; ++i) many += "Question: q" + std::to_string(i) + "?\nAnswer: a.\n";
  EXPECT_EQ(reason(talk, many), "format");
}

TEST(ReplyCheck, LeavesWhatOnlyLooksBad) {
  EXPECT_EQ(reason(SampleKind::kConversation,
                   "Question: How old?\nAnswer: Two dogs (one brown) and a list of things to do (1999)."),
            "");
  EXPECT_EQ(
      reason(SampleKind::kConversation,
             "Question: Why does he look sad?\nAnswer: He seems to be sorry for what he did; I cannot tell more."),
      "");
}

TEST(NormalisedText, IsWordsOnly) { EXPECT_EQ(normalised_text("  It's -- RED!\n\xC3\xA9"), "it s red \xC3\xA9"); }

}  // namespace
}  // namespace tephra::data
