#!/usr/bin/env bash
# Makes .deps/test-venv: Python packages of the peers that some tests compare with. About 5 GB, since PyPI's torch brings CUDA's
# libraries along. Nothing else needs it: without, those tests say that they did not run.
exec "$(dirname "$0")/make_venv.sh" test-venv 3 torch==2.11.0 transformers==5.23.0 safetensors numpy pillow openai psutil peft==0.21.2
