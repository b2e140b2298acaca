#!/usr/bin/env bash
# Makes .deps/eval-venv: Python packages that tests of eval/score compare with (captions' metrics) or check reports with (HTML's
# parser, axe-core). Without it those tests say that they did not run.
exec "$(dirname "$0")/make_venv.sh" eval-venv 1 pycocoevalcap==1.2 nltk==3.10.4 html5lib==1.1 axe-playwright-python==0.1.8
