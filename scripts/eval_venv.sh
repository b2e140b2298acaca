#!/usr/bin/env bash
# Makes .deps/eval-venv: Python packages that tests of eval/score compare with (captions' metrics; VQA's, TextVQA's, POPE's and MME's rules)
# or check reports with (HTML's parser). Some 250 MB. Without it those tests say that they did not run.
# LAVIS and lmms-eval are wanted for a few files of theirs that need nothing else; with what they depend on they would be gigabytes.
exec "$(dirname "$0")/make_venv.sh" eval-venv 2 pycocoevalcap==1.2 nltk==3.10.4 html5lib==1.1 --no-deps salesforce-lavis==1.0.2 lmms-eval==0.7.3
