# %% [markdown]
# # Search, train, look
#
# Handwritten digits by two groups of writers, on a Raspberry Pi 4. Runs offline, some minutes on two CPU cores.
# Open this file as a notebook (Jupyter with jupytext, VS Code), or run it: `python examples/digits.py`.

# %%
import sys

from supernet import Table, load_data, search, train

QUICK = "--quick" in sys.argv  # a smoke test of the whole path, no result
HASTE = {"space": "micro32", "eval_images": 256} if QUICK else {}

# %% The data: classes, groups, and what should be known before a figure is believed
data = load_data("writers")
data

# %% The device: a table of measured milliseconds
table = Table("rpi4")
table

# %% A network inside the budget
found = search(data, table, budget_ms=10, quick=QUICK, **HASTE)
found

# %% Trained; the test split's figures with 95% intervals
trained = train(found, quick=QUICK)
trained

# %% The whole report
trained.report

# %% A biased training set: one image in twenty is a student's. What does the classifier learn from images that training lacks?
rare = load_data("writers", group_mix="student=0.05")
plain = train(found, rare, fairness_weight=0, quick=QUICK)
refit = train(found, rare, refit_classifier=True, baseline=str(plain.folder), quick=QUICK)
for name, run in (("plain", plain), ("refit", refit)):
    gap = run.metrics["attributes"]["writer"]["gaps"]["accuracy_parity"]
    print(f"{name}: gap {gap['value']:.4f}, 95% {gap['low']:.4f} to {gap['high']:.4f}")
