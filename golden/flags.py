"""Flags: the defect families a case can reveal. Each is explained once: here, or by the one operator that has it."""

FLAGS: dict[str, str] = {
    "operand-mixup": "operands exchanged or one used twice; every element of a random case is wrong",
    "sign": "a lost or wrong sign, or the absolute value where the signed difference was meant",
    "branch": "the wrong branch for some range of |diff|, such as a signed difference compared with beta",
    "scaling": "a missing or doubled factor: Huber scaling without 1/beta, an operand ignored or recomputed",
    "rounding": "excess error: truncation, double rounding, approximate reciprocals, cancellation made worse",
    "evaluation-order": "which legal order a build uses; results differ in the last bits, all within bounds",
    "narrow-arithmetic": "fp16 arithmetic inside an fp32 kernel, or a scalar passed through a narrower type",
    "overflow": "an intermediate that overflows where the documented formula does not",
    "underflow": "subnormal operands, intermediates or results flushed or lost",
    "nan-swallowed": "NaN turned into a number by fmin, fmax, or a comparison that is false for NaN",
    "special-values": "infinities and zeros of either sign handled as ordinary numbers",
    "tail": "remainder loops: lengths around the vector width computed differently, twice, or not at all",
    "position": "body and tail of a loop with different formulas: the same inputs give other bits elsewhere",
    "partition": "elements lost or doubled between cores, or cores without elements reading the wrong memory",
    "index-width": "offsets or labels kept in 8, 16 or signed 16 bits",
    "empty": "length or batch of zero: division of the work by zero, or a first element touched anyway",
    "realistic": "gradients as a training step produces them: what an integrator will feed the kernel",
}

#: The flags of cases that are there for nothing but to tell the legal orders apart.
ORDER_ALONE = ("evaluation-order",)
