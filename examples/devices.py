# %% [markdown]
# # One network, several devices
#
# What does a network cost elsewhere, and what is the fastest that a device allows? No training, a second or two.

# %%
from supernet import Table
from supernet.spaces import get_space

space = get_space("fbnet32")
by_hand = {"all k3_e3": "k3_e3", "all k5_e6": "k5_e6"}

# %% Tables that come with the package; a path to your own works as well
for name in Table.shipped():
    table = Table(name)
    if table.facts["space"] != space.name:
        continue
    cost = table.table.cost(space)
    fastest, slowest = cost.bounds(space.valid_LK)
    told = ", ".join(
        f"{what} {table.table.predict_ms(space, [op] * len(space.layers)):.1f} ms" for what, op in by_hand.items()
    )
    error = "unknown" if table.table.error is None else f"{table.table.error:.1%}"
    print(f"{name}: {fastest:.1f} to {slowest:.1f} ms; {told}; error on held-out networks {error}")
