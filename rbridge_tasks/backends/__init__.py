"""Back ends: how token scores are computed under each kind of model of lm-eval.

Each back end is one module with one ``BACKEND``: ``hf``, ``vllm``, ``completions``, ``stock``. ``base`` declares what a
back end is. ``prompts`` holds what the back ends share that get log-probabilities of whole prompts from elsewhere.
"""
