"""How the tokens of a trace may be weighted: the values of the option ``rbridge_weights``."""

#: What weights a token, by the value of ``rbridge_weights``.
WEIGHTINGS = {
    "confidence": "the frontier model's confidence, MinMax-normalised within the trace (the paper's Algorithm 1)",
    "confidence_test_set": "the frontier model's confidence, MinMax-normalised over the whole test set",
    "spans": "1 inside marked spans, 0 outside (the authors' mask mode)",
    "none": "nothing: no rbridge_nll, no rbridge_bits_per_byte",
}
