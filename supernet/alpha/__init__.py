"""Architecture parameters α: relaxations and their gradient estimators, and the warm-up before α moves."""
