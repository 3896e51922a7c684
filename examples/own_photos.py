# %% [markdown]
# # A few hundred photos of your own
#
# A folder of photos with a table, a small network, new photos. `python examples/own_photos.py PHOTOS` takes your folder;
# without one, coloured shapes stand in for photos.

# %%
import csv
import random
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from supernet import evaluate, load_data, predict, train

QUICK = "--quick" in sys.argv
given = [word for word in sys.argv[1:] if not word.startswith("-")]


# %% Stand-ins: squares and discs, indoors on a dark ground and outdoors on a bright one
def draw_photos(folder: Path, number: int) -> Path:
    rows, rng = [("file_name", "label", "place")], random.Random(0)
    for n in range(number):
        label, place = rng.choice(("square", "disc")), rng.choice(("indoor", "outdoor"))
        dark = place == "indoor"
        picture = Image.new("RGB", (80, 60), tuple(rng.randint(0, 90) + (0 if dark else 150) for _ in "rgb"))
        x, y, side = rng.randint(5, 40), rng.randint(5, 20), rng.randint(18, 30)
        shape = ImageDraw.Draw(picture).rectangle if label == "square" else ImageDraw.Draw(picture).ellipse
        shape((x, y, x + side, y + side), fill=tuple(rng.randint(60, 255) for _ in "rgb"))
        picture.save(folder / f"{n:04}.png")
        rows.append((f"{n:04}.png", label, place))
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


home = Path(tempfile.mkdtemp())
(home / "photos").mkdir()
photos = Path(given[0]) if given else draw_photos(home / "photos", 120 if QUICK else 600)
columns = {} if given else {"group_cols": "place"}

# %% Read and checked: pictures twice, contradictory labels and missing groups are said or refused
data = load_data(photos, resolution=64, **columns)
data

# %% A small network. With the extra `pretrained`: train("tf_efficientnet_lite0", data, pretrained="auto", resolution=96)
trained = train("mobilenetv3_small_050", data, resolution=64, epochs=2 if QUICK else 30, quick=QUICK)
trained

# %% Where it goes wrong, and what to do next
trained.report

# %% New photos without labels …
table = predict(trained, photos).table
table.head()

# %% … and the same model, as the device's 8-bit file, on the labelled ones. It has seen some of these: they are accepted here, with a note.
again = evaluate(trained.folder / "model-int8.onnx", photos, allow_duplicates=True, bootstrap=200)
again
