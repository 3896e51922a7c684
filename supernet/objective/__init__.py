"""What training and search make small: terms for the task, for fairness and for costs."""

from supernet.objective.asked import cell_counts, class_weights, data_objective, fair_objective, least_share
from supernet.objective.cost import CostTerm
from supernet.objective.terms import DataObjective, FairnessTerm, Loss, Multiplier, TaskTerm, Term

__all__ = [
    "CostTerm",
    "DataObjective",
    "FairnessTerm",
    "Loss",
    "Multiplier",
    "TaskTerm",
    "Term",
    "cell_counts",
    "class_weights",
    "data_objective",
    "fair_objective",
    "least_share",
]
