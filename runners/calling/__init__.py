"""What a call is, how one is made of a case, and in which ways each case is called."""
