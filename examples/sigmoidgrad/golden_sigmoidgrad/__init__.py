"""SigmoidGrad for golden: an operator from a package of its own."""
