// What is proved: the prompts that ship are whole and mention nothing that they forbid; requests are functions of the seed; the
// pipeline's result does not depend on threads; failures cost a sample or end the run, as they should; the card counts right.
#include "data/datagen/generate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "data/conversation.h"
#include "data/datagen/card.h"
#include "data/datagen/local_teacher.h"
#include "data/datagen/reply_check.h"

namespace tephra::data {
namespace {

const std::string kPrompts = TEPHRA_SOURCE_DIR "/recipes/datagen";

PictureFactsList pictures(int count) {
  PictureFactsList list;
  for (int i = 0; i < count; ++i) {
    PictureFacts p;
    p.id = std::to_string(i);
    p.image = p.id + ".jpg";
    p.captions = {"A picture of thing " + p.id + ".", "Thing number " + p.id + " is shown"};
    if (i % 3 != 0)
      p.objects = {{"dog", {0.1, 0.1, 0.5, 0.9}}, {"orange", {0.6, 0.6, 0.7, 0.7}}, {"dog", {0.5, 0.1, 0.6, 0.2}}};
    list.pictures.push_back(p);
  }
  return list;
}

Prompts prompts() {
  auto loaded = Prompts::load(kPrompts);
  EXPECT_TRUE(loaded.ok()) << loaded.status().to_string();
  return std::move(loaded).value();
}

Result<TeacherReply> local(const TeacherRequest& request) { return TeacherReply{local_teacher_reply(request), "stop"}; }

TEST(DatagenPrompts, ExamplesPassTheChecks) {
  const Prompts loaded = prompts();
  for (const SampleKind kind : kSampleKinds)
    for (const auto& example : loaded.of(kind).examples) {
      const CheckedReply reply = check_reply(kind, "Describe it.", example.reply, "stop");
      EXPECT_EQ(reply.reason, "") << kind_name(kind) << ": " << reply.detail;
      for (const PictureObject& o : example.facts.objects)
        for (const double n : o.box) EXPECT_TRUE(n >= 0 && n <= 1);
    }
}

TEST(DatagenPrompts, RequestsAreFunctionsOfTheSeed) {
  const Prompts loaded = prompts();
  const PictureFactsList list = pictures(20);
  const auto text_of = [](const TeacherRequest& r) {
    std::string out = std::to_string(r.seed);
    for (const auto& m : r.messages) out += m.role + m.content;
    return out;
  };
  int differ = 0;
  for (const PictureFacts& p : list.pictures) {
    const TeacherRequest request = loaded.request(SampleKind::kDetail, p, 1);
    EXPECT_EQ(text_of(request), text_of(loaded.request(SampleKind::kDetail, p, 1)));
    differ += text_of(request) != text_of(loaded.request(SampleKind::kDetail, p, 2));
    EXPECT_EQ(request.messages.size(), 4u) << "system, an example, the picture";
    EXPECT_TRUE(request.messages.back().content.starts_with(context_text(p)));
    EXPECT_TRUE(request.messages.back().content.ends_with(request.question));
  }
  EXPECT_EQ(differ, 20);
}

TEST(Generate, IsTheSameOnAnyNumberOfThreads) {
  const PictureFactsList list = pictures(40);
  const Prompts loaded = prompts();
  GenerateOptions options;
  options.concurrency = 1;
  const auto one = generate(list, loaded, local, options);
  options.concurrency = 8;
  std::vector<uint64_t> seen;
  options.progress = [&](uint64_t done, uint64_t total) {
    seen.push_back(done);
    EXPECT_EQ(total, 120u);
  };
  const auto eight = generate(list, loaded, local, options);
  ASSERT_TRUE(one.ok() && eight.ok());
  EXPECT_EQ(samples_json(*one, 1), samples_json(*eight, 1));
  EXPECT_EQ(seen.size(), 120u);
  EXPECT_EQ(one->wanted, 120u);
  EXPECT_EQ(one->samples.size(), 120u) << rejects_json(*one);
  const auto read = parse_conversations(samples_json(*one, 1), "generated");
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  int before = 0;
  for (const Sample& s : *read) {
    EXPECT_EQ(count_image_tags(s), 1) << s.id;
    before += s.turns[0].value.starts_with("<image>\n");
  }
  EXPECT_TRUE(before > 30 && before < 90) << before;
}

TEST(Generate, SharesAndLimits) {
  const PictureFactsList list = pictures(1000);
  GenerateOptions options;
  options.share = {0.5, 0, 1};
  const uint64_t wanted = samples_wanted(list, options);
  EXPECT_TRUE(wanted > 1430 && wanted < 1570) << wanted;
  options.samples_max = 10;
  EXPECT_EQ(samples_wanted(list, options), 10u);
  const auto made = generate(list, prompts(), local, options);
  for (const GeneratedSample& s : made->samples) EXPECT_NE(s.kind, SampleKind::kDetail);
}

TEST(Generate, KeepsRejectsWithReasons) {
  PictureFactsList list = pictures(4);
  list.rejected.push_back({"x", "coordinates", "a box"});
  GenerateOptions options;
  options.share = {0, 1, 0};
  const auto made = generate(
      list, prompts(),
      [](const TeacherRequest& r) -> Result<TeacherReply> {
        if (r.picture->id == "0") return TeacherReply{"I'm sorry, I can't.", "stop"};
        if (r.picture->id == "1") return Status(Code::kTimeout, "too late");
        return TeacherReply{"The same eight words or more in the description of " + r.picture->id, "stop"};
      },
      options);
  ASSERT_TRUE(made.ok());
  ASSERT_EQ(made->rejected.size(), 3u) << rejects_json(*made);
  EXPECT_EQ(made->rejected[0].reason, "coordinates");
  EXPECT_EQ(made->rejected[1].reason, "refusal");
  EXPECT_EQ(made->rejected[1].reply, "I'm sorry, I can't.");
  EXPECT_EQ(made->rejected[2].reason, "no_reply");
  EXPECT_EQ(made->rejected[2].id, "1-detail");
}

TEST(Generate, EqualSamplesAreOne) {
  PictureFactsList list = pictures(2);
  GenerateOptions options;
  options.share = {0, 0, 1};
  const auto made = generate(
      list, prompts(),
      [](const TeacherRequest&) -> Result<TeacherReply> {
        return TeacherReply{"Question: Why?\nAnswer: Because.", "stop"};
      },
      options);
  EXPECT_EQ(made->samples.size(), 1u);
  EXPECT_EQ(made->reasons().at("duplicate"), 1u);
}

TEST(Generate, EndsWhenGoingOnIsOfNoUse) {
  GenerateOptions options;
  options.concurrency = 1;
  std::atomic<int> asked{0};
  const auto refuse = [&](Code code) {
    asked = 0;
    return generate(
               pictures(30), prompts(),
               [&, code](const TeacherRequest&) -> Result<TeacherReply> {
                 ++asked;
                 return Status(code, "no");
               },
               options)
        .status();
  };
  EXPECT_EQ(refuse(Code::kPermission).code(), Code::kPermission);
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(refuse(Code::kNoSpace).code(), Code::kNoSpace);
  EXPECT_EQ(refuse(Code::kUnavailable).message(), "20 samples in a row got no reply: no");
  EXPECT_EQ(asked, 20);
  EXPECT_TRUE(refuse(Code::kMismatch).ok()) << "in doubt after a kill: all are rejects";
}

TEST(VerbNoun, FindsWhatAnInstructionTurnsOn) {
  const auto words = VerbNoun::load(kPrompts + "/words.json");
  ASSERT_TRUE(words.ok()) << words.status().to_string();
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(words->of("Describe the dogs in detail."), Pair("describe", "dog"));
  EXPECT_EQ(words->of("What is the man wearing on the head?"), Pair("wear", "head"));
  EXPECT_EQ(words->of("What animals are in the picture?"), Pair("be", "animal"));
  EXPECT_EQ(words->of("Why should drivers be careful while crossing the street?"), Pair("cross", "street"));
  EXPECT_EQ(words->of("Hm?"), Pair("", ""));
}

TEST(DataCard, CountsAndEscapes) {
  const auto words = VerbNoun::load(kPrompts + "/words.json");
  auto made = generate(pictures(6), prompts(), local, {});
  ASSERT_TRUE(made.ok());
  made->rejected.push_back({"7", "detail", "leak", "<b>|\"x\"", ""});
  CardInfo info;
  info.teacher = "local";
  const std::string markdown = card_markdown(*made, info, *words), html = card_html(*made, info, *words);
  EXPECT_NE(markdown.find("| conversation | 6 |"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("| leak | 1 | 7: &lt;b&gt;\\|\"x\" |"), std::string::npos) << markdown;
  EXPECT_NE(html.find("&lt;b&gt;|&quot;x&quot;"), std::string::npos);
  EXPECT_NE(html.find("<svg"), std::string::npos);
  EXPECT_EQ(html.find("http://"), std::string::npos) << "opens without a network";
}

}  // namespace
}  // namespace tephra::data
