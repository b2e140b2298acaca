#include "data/datagen/local_teacher.h"

#include <cctype>
#include <map>

#include "base/random.h"

namespace tephra::data {
namespace {

constexpr const char* kNumbers[] = {"no",  "one",   "two",   "three", "four", "five",
                                    "six", "seven", "eight", "nine",  "ten"};

std::string number_word(size_t n) { return n < std::size(kNumbers) ? kNumbers[n] : std::to_string(n); }

std::string plural(const std::string& noun) {
  if (noun == "person") return "people";
  if (noun.ends_with("knife")) return noun.substr(0, noun.size() - 2) + "ves";
  if (noun == "sheep" || noun == "scissors" || noun == "skis") return noun;
  if (noun.ends_with("s") || noun.ends_with("ch") || noun.ends_with("sh") || noun.ends_with("x")) return noun + "es";
  return noun + "s";
}

std::string with_article(const std::string& noun) {
  return (std::string("aeiou").find(noun[0]) == std::string::npos ? "a " : "an ") + noun;
}

std::string counted(const std::string& noun, size_t n) {
  return n == 1 ? with_article(noun) : number_word(n) + " " + plural(noun);
}

std::string capital(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

std::string sentence(std::string text) {
  text = capital(std::move(text));
  return text.ends_with('.') || text.ends_with('!') ? text : text + ".";
}

std::string place_of(const PictureObject& o) {
  const double x = (o.box[0] + o.box[2]) / 2, y = (o.box[1] + o.box[3]) / 2;
  const char* column = x < 0.36 ? "left" : x > 0.64 ? "right" : "middle";
  const char* row = y < 0.36 ? "upper" : y > 0.64 ? "lower" : "";
  if (std::string(column) == "middle" && *row == '\0') return "in the middle of the picture";
  return std::string("in the ") + row + (*row ? " " : "") + column + " part of the picture";
}

// What the writers below share: the categories with their counts, and the largest object.
class Writer {
 public:
  explicit Writer(const TeacherRequest& request) : request_(request) {
    for (const PictureObject& o : request.picture->objects) {
      ++counts_[o.category];
      if (!largest_ || area(o) > area(*largest_)) largest_ = &o;
    }
  }

  std::string conversation() const {
    std::string out =
        ask(pick({"What can be seen in the picture?", "What does the picture show?"}, 0), sentence(caption(0)));
    if (largest_ != nullptr) {
      out += ask("Which things are in the picture?",
                 "There " + std::string(counts_.begin()->second == 1 ? "is " : "are ") + list() + ".");
      const auto& [noun, n] = *counts_.begin();
      out += ask("How many " + plural(noun) + " are there?",
                 "There " + std::string(n == 1 ? "is " : "are ") +
                     (n == 1 ? "one " + noun : number_word(n) + " " + plural(noun)) + ".");
      out += ask("Where is the largest " + largest_->category + "?", "It is " + place_of(*largest_) + ".");
    } else if (request_.picture->captions.size() > 1) {
      out += ask("How else could one put it?", sentence(caption(1)));
    }
    return out;
  }

  std::string detail() const {
    std::string out = "The picture can be put like this: " + sentence(caption(0));
    if (request_.picture->captions.size() > 1) out += " " + sentence(caption(1));
    if (largest_ != nullptr) {
      out += " Among what can be made out " + std::string(counts_.begin()->second == 1 ? "is " : "are ") + list() + ".";
      out += " The largest of it, " + with_article(largest_->category) + ", is " + place_of(*largest_) + ".";
    }
    return out;
  }

  std::string complex() const {
    if (largest_ == nullptr)
      return ask("Why might someone have taken this picture?",
                 "Someone probably wanted to keep this moment. " + sentence(caption(0)) +
                     " That is worth remembering, or worth showing to others.");
    const std::string& noun = largest_->category;
    return ask(
        pick({"What seems to matter most in this picture, and why?",
              "Which part of the picture does the eye reach first, and why?"},
             1),
        "Most likely it is the " + noun + " " + place_of(*largest_) +
            ". It takes up more room than anything else, and people tend to put what they care about where it is large. " +
            sentence(caption(0)) + " That fits: the rest of the scene is there to show what the " + noun +
            " has to do with it.");
  }

 private:
  static double area(const PictureObject& o) { return (o.box[2] - o.box[0]) * (o.box[3] - o.box[1]); }
  static std::string ask(const std::string& question, const std::string& answer) {
    return "Question: " + question + "\nAnswer: " + answer + "\n\n";
  }
  uint64_t seed() const { return static_cast<uint64_t>(request_.seed); }
  std::string pick(std::initializer_list<const char*> from, uint64_t what) const {
    return from.begin()[random_below(from.size(), {seed(), what})];
  }
  std::string caption(size_t i) const {
    const auto& captions = request_.picture->captions;
    return captions[permute(i % captions.size(), captions.size(), {seed(), 7})];
  }
  std::string list() const {
    std::string out;
    size_t left = counts_.size();
    for (const auto& [noun, n] : counts_) {
      out += counted(noun, n);
      --left;
      if (left > 0) out += left == 1 ? " and " : ", ";
    }
    return out;
  }

  const TeacherRequest& request_;
  std::map<std::string, size_t> counts_;
  const PictureObject* largest_ = nullptr;
};

}  // namespace

std::string local_teacher_reply(const TeacherRequest& request) {
  const Writer writer(request);
  switch (request.kind) {
    case SampleKind::kConversation: return writer.conversation();
    case SampleKind::kDetail: return writer.detail();
    case SampleKind::kComplex: return writer.complex();
  }
  return "";
}

}  // namespace tephra::data
