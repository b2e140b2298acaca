// Captions against several references, as COCO's evaluation counts: the tokens of its tokenizer, BLEU (Papineni et al. 2002) and
// CIDEr-D (Vedantam et al. 2015). Equal to pycocoevalcap's numbers on equal tokens. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tephra::eval {

// The Penn Treebank's words in lower case without punctuation: "A man's dog, well-fed (now)." is a, man, 's, dog, well-fed, -lrb-,
// now, -rrb-. As the tokenizer of COCO's evaluation (Stanford's PTBTokenizer) does it with the captions that a test compares; its
// lists of abbreviations and its rules for addresses and other scripts are longer.
std::vector<std::string> caption_tokens(std::string_view text);

struct CaptionCase {
  std::vector<std::string> candidate;                // tokens
  std::vector<std::vector<std::string>> references;  // tokens of each; at least one
};

struct CaptionScore {
  double bleu[4] = {0, 0, 0, 0};  // BLEU-1 to BLEU-4 over all cases, 0..1: closest reference's length, no smoothing
  double cider = 0;               // mean over the cases; 0..10
  std::vector<double> cider_of_case;
};
// Document frequencies of CIDEr are of the references of these cases, so a case's score depends on the others.
CaptionScore score_captions(const std::vector<CaptionCase>& cases);

}  // namespace tephra::eval
