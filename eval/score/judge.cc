#include "eval/score/judge.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "base/hash.h"
#include "base/text.h"
#include "eval/score/instruct.h"

namespace tephra::eval {
namespace {

// Every {name} of `text` by its value, in one pass: what an answer says is never taken for a place of the template.
std::string filled(const std::string& text, const std::map<std::string, std::string>& values) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t end = text[i] == '{' ? text.find('}', i) : std::string::npos;
    const auto value = end == std::string::npos ? values.end() : values.find(text.substr(i + 1, end - i - 1));
    if (value == values.end()) {
      out += text[i++];
      continue;
    }
    out += value->second;
    i = end + 1;
  }
  return out;
}

// "llava_bench_conv" is judged by the rule of its own name, else by that of "conv".
const JudgePrompts::Rule& rule_for(const JudgePrompts& prompts, const std::string& category) {
  for (const std::string& name : {category, category.substr(category.rfind('_') + 1), std::string("default")})
    if (const auto found = prompts.rules.find(name); found != prompts.rules.end()) return found->second;
  return prompts.rules.begin()->second;  // load_judge_prompts has seen a default
}

}  // namespace

Result<JudgePrompts> load_judge_prompts(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string bytes, read_file(Env::posix(), path));
  const auto bad = [&](const std::string& what) {
    return Status(Code::kInvalidArgument,
                  path + ": " + what +
                      "; a judge's prompts are {\"version\", \"system\", \"template\", \"rules\": "
                      "{\"default\": {\"role\", \"prompt\"}, ...}}");
  };
  const auto json = nlohmann::json::parse(bytes, nullptr, false);
  if (!json.is_object()) return bad("is not a JSON object");
  JudgePrompts out;
  for (auto [key, field] :
       {std::pair("version", &out.version), std::pair("system", &out.system), std::pair("template", &out.text)}) {
    if (!json.contains(key) || !json[key].is_string()) return bad(std::string("has no text \"") + key + "\"");
    *field = json[key];
  }
  for (const char* place : {"{question}", "{first}", "{second}"})
    if (out.text.find(place) == std::string::npos) return bad(std::string("the template has no ") + place);
  if (!json.contains("rules") || !json["rules"].is_object() || !json["rules"].contains("default"))
    return bad("has no rule \"default\"");
  for (const auto& [name, rule] : json["rules"].items()) {
    if (!rule.is_object() || !rule.contains("role") || !rule.contains("prompt") || !rule["role"].is_string() ||
        !rule["prompt"].is_string())
      return bad("rule '" + name + "' lacks a role or a prompt");
    out.rules[name] = {rule["role"], rule["prompt"]};
  }
  out.hash = hash_text(bytes).hex();
  return out;
}

std::string judgment_key(const std::string& question_id, bool answer_first) {
  return question_id + (answer_first ? "#first" : "#second");
}

std::vector<JudgeRequest> judge_requests(const JudgePrompts& prompts, const QuestionSet& set,
                                         const std::map<std::string, std::string>& answers, bool both_orders) {
  std::vector<JudgeRequest> out;
  for (const Question& q : set.questions) {
    const auto answer = answers.find(answer_key(q.id, false));
    if (answer == answers.end()) continue;
    const JudgePrompts::Rule& rule = rule_for(prompts, q.category);
    for (const bool answer_first : {false, true}) {
      if (answer_first && !both_orders) continue;
      out.push_back({judgment_key(q.id, answer_first), prompts.system,
                     filled(prompts.text, {{"context", q.context},
                                           {"question", question_text(q)},
                                           {"role", rule.role},
                                           {"first", answer_first ? answer->second : q.reference},
                                           {"second", answer_first ? q.reference : answer->second},
                                           {"prompt", rule.prompt}})});
    }
  }
  return out;
}

std::vector<Review> reviews_of(const Question& question, const std::map<std::string, std::string>& judgments,
                               int64_t* unreadable) {
  std::vector<Review> out;
  for (const bool answer_first : {false, true}) {
    const auto found = judgments.find(judgment_key(question.id, answer_first));
    if (found == judgments.end()) continue;
    auto scores = parse_judge_scores(found->second);
    if (!scores) {
      ++*unreadable;
      continue;
    }
    if (answer_first) std::swap(scores->first, scores->second);
    out.push_back({question.id, question.category, *scores, found->second});
  }
  return out;
}

std::string local_judgment(const Question& question, const std::string& answer, bool answer_first) {
  const auto score = [&](const std::string& text) {
    return fixed(std::max(1.0, 10 * rouge_l(text, question.reference)), 1);
  };
  const std::string reference = score(question.reference), mine = score(answer);
  return (answer_first ? mine + " " + reference : reference + " " + mine) +
         "\nTen times the overlap of words with the reference (ROUGE-L). This judge does not read; it only shows that judging works.";
}

}  // namespace tephra::eval
